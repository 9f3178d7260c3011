"""Measuring every model of a pipeline, before referees that nothing compared was trained on, and the gates."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from components.arithmetic import device_of, precision_of
from components.checkpoints import load_gpt, load_tokenizer
from components.data.chat import ChatTokenizer
from components.data.comparisons import EncodedComparison, distinct_places, encode_comparison
from components.data.records import Comparison, read_records
from components.data.sequences import pack
from components.data.tokens import TokenFile
from components.evaluation.best_of_n import best_of_n_curve
from components.evaluation.perplexity import token_file_loss
from components.evaluation.preferences import pair_figures, pair_table
from components.evaluation.replies import ReplySet, win_rate
from components.evaluation.report import write_report
from components.gates import Verdict, verdicts
from components.headlines import headline_figures
from components.labeling.simulated import LabelerModel, pair_differences
from components.lineage import StageRecord
from components.losses.language_modelling import bits_per_byte, next_token_loss
from components.losses.ppo import kl_k1
from components.losses.sampling import candidates
from components.models.precision import autocast
from components.models.replies import EncodedPrompt, Reply, load_prompts, sample_all, sampling_of
from components.models.scoring import response_logits, response_logprobs
from components.models.transformer import GPT
from components.progress import Progress
from components.runtime import Work
from components.tasks.referees import Court, Scores, open_court, scalar_scores

if TYPE_CHECKING:
    from components.stages.evaluate import Evaluate

logger = logging.getLogger(__name__)
ALIGNED = ("ppo", "dpo", "feedme")
MODELS = ("pretrain", "sft", *ALIGNED)
TRAINED = ("pretrain", "sft", "reward", *ALIGNED)  # each has a curve
TEXT_BATCH = 32
NEWLINE = "\n"


@dataclass(frozen=True)
class Bench:
    """What every measurement needs: the models, the prompts, the referees, and the arithmetic."""

    stage: "Work[Evaluate]"
    tokenizer: ChatTokenizer
    prompts: list[EncodedPrompt]
    models: dict[str, GPT]
    court: Court
    reward: Scores
    device: torch.device
    precision: str


def evaluate(stage: "Work[Evaluate]") -> None:
    """The whole stage."""
    params = stage.section
    bench = _open(stage)
    sets: dict[str, ReplySet] = {}
    text: dict[str, dict[str, float]] = {}
    for name in MODELS:
        sets[name] = _judge(bench, _replies(bench, name))
        text[name] = _text_loss(bench, name)
    metrics: dict[str, Any] = {
        "seed": stage.seed,
        "split": params.split,
        "prompts": len(bench.prompts),
        "referees": list(bench.court.referees),
        "inapplicable": bench.court.inapplicable,
        "left_out": bench.court.left_out,
    }
    for name in MODELS:
        metrics[name] = sets[name].figures() | text[name]
    metrics["sft"] |= _sft_figures(stage)
    with Progress(2 + len(ALIGNED), "measurements") as progress:
        compared = _compare(bench)
        progress.advance(note="comparisons")
        metrics["reward"] = _reward_figures(bench, compared)
        # What the reward model gains by picking among the SFT model's replies, or those that people compared.
        metrics["best_of_n"] = best_of_n_curve(compared.scores["reward"], compared.scores)
        progress.advance(note="reward")
        for name in ALIGNED:
            metrics[name] |= _alignment_figures(bench, name, sets)
            metrics[name]["pretrain_loss_increase"] = text[name]["text_loss"] / text["sft"]["text_loss"] - 1
            progress.advance(note=name)
    stage.metrics |= metrics
    gates = verdicts(stage.gates, metrics)
    stage.metrics["gates"] = {name: verdict.passed for name, verdict in gates.items()}
    headline = {figure.metric: round(value, 4) for figure, value in headline_figures(metrics).items()}
    stage.path("headline.json").write_text(json.dumps(headline, indent=1) + "\n")
    _write(bench, sets, gates)
    if params.split == "test":
        _promote(stage, gates)


def _open(stage: "Work[Evaluate]") -> Bench:
    params = stage.section
    tokenizer = load_tokenizer(stage.read("ppo"))
    prompts = load_prompts(
        stage.read("prompts") / f"{params.split}.jsonl",
        tokenizer,
        max_tokens=stage.limits.max_prompt_tokens,
        limit=params.num_prompts,
    )
    device = device_of(stage)
    models = {name: load_gpt(stage.read(name)).to(device) for name in MODELS}
    court, reward = open_court(stage, tokenizer), scalar_scores(stage, stage.read("reward"), tokenizer)
    return Bench(stage, tokenizer, prompts, models, court, reward, device, precision_of(stage))


def _replies(bench: Bench, name: str) -> list[Reply]:
    """One reply a prompt. The base model knows no chat markers: it continues the plain text by a line."""
    stage, params = bench.stage, bench.stage.section
    tokenizer, prompts = bench.tokenizer, bench.prompts
    end_id = tokenizer.end
    if name == "pretrain":
        (end_id,) = tokenizer.encode_text(NEWLINE)
        prompts = [
            EncodedPrompt(p.id, p.messages, _as_text(p, tokenizer)[-stage.limits.max_prompt_tokens :]) for p in prompts
        ]
    logger.info("%s replies to %d prompts", name, len(prompts))
    with Progress(len(prompts), "replies") as progress:
        replies = sample_all(
            bench.models[name],
            tokenizer,
            prompts,
            stage.generation,
            precision=bench.precision,
            batch_size=params.batch_size,
            seed=stage.seed + 999,
            end_id=end_id,
            progress=progress,
        )
    # Judged as a chat's reply, however the model that wrote it was prompted.
    return [Reply([*r.ids[:-1], tokenizer.end], True) if r.ended else r for r in replies]


def _as_text(prompt: EncodedPrompt, tokenizer: ChatTokenizer) -> list[int]:
    return tokenizer.encode_text("".join(message.content.replace("\n", " ") + NEWLINE for message in prompt.messages))


def _judge(bench: Bench, replies: list[Reply]) -> ReplySet:
    """What the referees and the reward model say of each reply."""
    judges = {**bench.court.referees, "reward": bench.reward}
    return ReplySet(
        replies=replies,
        texts=[reply.text(bench.tokenizer) for reply in replies],
        scores={name: score(bench.prompts, replies) for name, score in judges.items()},
    )


def _text_loss(bench: Bench, name: str) -> dict[str, float]:
    """Likelihood of the split's plain text, in nats a token and bits a byte."""
    model, evaluate = bench.models[name], bench.stage.section
    tokens = TokenFile(bench.stage.read("tokens") / f"{evaluate.split}.bin", context_length=model.config.context_length)

    def loss(windows: Tensor) -> Tensor:
        with autocast(bench.precision, windows.device):
            return next_token_loss(model(windows[:, :-1]), model.head, windows[:, 1:])

    max_batches = max(1, evaluate.text_windows // TEXT_BATCH)
    nats = token_file_loss(loss, tokens, batch_size=TEXT_BATCH, max_batches=max_batches, device=bench.device)
    return {"text_loss": nats, "bits_per_byte": bits_per_byte(nats * tokens.meta.tokens, tokens.meta.bytes)}


def _sft_figures(stage: "Work[Evaluate]") -> dict[str, float]:
    own = json.loads(stage.read("sft_figures").read_text())
    return {
        "validation_loss": own["validation"]["loss"],
        "validation_loss_ratio": own["validation"]["loss"] / own["untuned"]["validation/loss"],
        "trained_fraction": own["trained_fraction"],
    }


@dataclass(frozen=True)
class Compared:
    """The split's comparisons, and what each referee and the reward model (`reward`) say of their replies, [K] each."""

    rows: list[EncodedComparison]
    scores: dict[str, list[np.ndarray]]


def _compare(bench: Bench) -> Compared:
    stage, params, end = bench.stage, bench.stage.section, bench.tokenizer.end
    rows: list[EncodedComparison] = []
    prompts: list[EncodedPrompt] = []
    for record in read_records(bench.stage.read(params.split), Comparison):
        row = encode_comparison(
            record,
            bench.tokenizer,
            max_prompt_tokens=stage.limits.max_prompt_tokens,
            max_reply_tokens=stage.generation.max_new_tokens,
        )
        rows.append(row)
        prompts += [EncodedPrompt(record.id, record.messages, row.prompt, row.group)] * len(row.replies)
    replies = [Reply(ids, ids[-1] == end) for row in rows for ids in row.replies]
    cuts = np.cumsum([len(row.replies) for row in rows])[:-1]
    judges = {**bench.court.referees, "reward": bench.reward}
    return Compared(rows, {by: np.split(np.array(score(prompts, replies)), cuts) for by, score in judges.items()})


def _reward_figures(bench: Bench, compared: Compared) -> dict[str, Any]:
    """The reward model's accuracy on held-out comparisons, beside the ceiling that the labeler's noise allows."""
    kept = [distinct_places(row) for row in compared.rows]
    table = pair_table(
        [scores[places] for scores, places in zip(compared.scores["reward"], kept, strict=True)],
        [[row.ranks[i] for i in places] for row, places in zip(compared.rows, kept, strict=True)],
        [[row.words[i] for i in places] for row, places in zip(compared.rows, kept, strict=True)],
        [row.group for row in compared.rows],
    )
    figures, _ = pair_figures(table, seed=bench.stage.seed)
    if "gold" not in compared.scores:
        return figures
    labeler = json.loads(bench.stage.read("labeler").read_text())
    del labeler["kind"]
    ceiling = LabelerModel(**labeler).ceiling(pair_differences(compared.scores["gold"]))
    return figures | {"label_ceiling": ceiling, "share_of_ceiling": figures["pair_accuracy"] / ceiling}


@torch.no_grad()
def _alignment_figures(bench: Bench, aligned: str, sets: Mapping[str, ReplySet]) -> dict[str, float]:
    """What alignment gained, before each referee, and how far it went."""
    stage, params = bench.stage, bench.stage.section
    divergences: list[float] = []
    sampling = sampling_of(stage.generation)
    replies = [reply.ids for reply in sets[aligned].replies]
    for start in range(0, len(bench.prompts), params.batch_size):
        part = slice(start, start + params.batch_size)
        prompts = [prompt.ids for prompt in bench.prompts[part]]
        batch = pack(prompts, replies[part], pad_id=bench.tokenizer.pad).to(bench.device)
        with autocast(bench.precision, bench.device):
            kept = candidates(response_logits(bench.models[aligned], batch), sampling) if sampling.cuts else None
            if kept is not None:
                kept = kept.scatter(-1, batch.response_ids[..., None], True)
            own, reference = (response_logprobs(bench.models[name], batch, sampling, kept) for name in (aligned, "sft"))
        divergences += kl_k1(own, reference).sum(dim=1).tolist()
    figures = {"kl": float(np.mean(divergences))}
    groups = [prompt.group for prompt in bench.prompts]
    for name in bench.court.referees:
        interval = win_rate(sets[aligned].scores[name], sets["sft"].scores[name], groups, seed=stage.seed)
        for suffix, value in (("", interval.mean), ("_low", interval.low), ("_high", interval.high)):
            figures[f"{name}_win_rate{suffix}"] = value
    return figures


def _write(bench: Bench, sets: Mapping[str, ReplySet], gates: Mapping[str, Verdict]) -> None:
    stage = bench.stage
    rows: list[dict[str, Any]] = [
        {"id": prompt.id, "user": prompt.user}
        | {
            name: {"reply": s.texts[i], "ended": s.replies[i].ended} | {by: s.scores[by][i] for by in s.scores}
            for name, s in sets.items()
        }
        for i, prompt in enumerate(bench.prompts)
    ]
    with stage.path("replies.jsonl").open("w") as out:
        out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_report(
        stage.out,
        stage.metrics,
        rows,
        {stage.pipeline.model_name(name): verdict for name, verdict in gates.items()},
        curves={name: stage.read(f"{name}_history") for name in TRAINED},
        calibration=stage.read("calibration"),
        samples=stage.section.report_samples,
    )
    for name in ("report.md", "report.html", "plots"):
        stage.tracker.log_file(stage.path(name), "plots" if name == "plots" else "")
    table = [{"user": row["user"]} | {name: row[name]["reply"] for name in sets} for row in rows]
    stage.tracker.log_table("replies", table[: stage.section.report_samples * 4], 0)


def _promote(stage: "Work[Evaluate]", gates: Mapping[str, Verdict]) -> None:
    for name, verdict in gates.items():
        record = StageRecord.load(name, stage.pipeline.artifacts)
        logger.info("%s: %s", stage.pipeline.model_name(name), verdict)
        if record is not None and record.model_version is not None:
            stage.tracker.promote(name, record.model_version, verdict.failed)
