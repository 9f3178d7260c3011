"""Evaluate: every stage's model on held-out data, with the gold function as referee, and the gates.

Writes `artifacts/evaluate/`: metrics.json, the replies of each model side by side, and a report as Markdown and HTML.
A stage's newest registered version becomes champion when its gate passes.
"""

import json
import logging
from typing import Any

import numpy as np
import torch
from torch import Tensor

from components.checkpoints import load_gpt, load_scalar, load_tokenizer
from components.data.chat import ChatTokenizer
from components.data.comparisons import as_rows, encode_reply, load_comparisons
from components.data.records import Comparison, read_records
from components.data.sequences import pack
from components.data.tokens import TokenFile
from components.evaluation.best_of_n import best_of_n_curve
from components.evaluation.perplexity import token_file_loss
from components.evaluation.replies import ReplySet, win_rate
from components.evaluation.report import write_report
from components.gates import verdicts
from components.labeling.gold import Gold
from components.labeling.simulated import LabelerModel, pair_differences
from components.lineage import StageRecord
from components.losses.language_modelling import bits_per_byte, next_token_loss
from components.losses.ppo import kl_k1
from components.losses.sampling import candidates
from components.models.precision import autocast
from components.models.scoring import response_logits, response_logprobs, sequence_scores
from components.models.transformer import GPT
from components.progress import Progress
from components.stages.replies import EncodedPrompt, load_prompts, sample_all, sampling_of
from components.stages.runtime import ARTIFACTS, Stage

logger = logging.getLogger(__name__)
ALIGNED = ("ppo", "dpo", "feedme")
MODELS = {name: ARTIFACTS / name / "model" for name in ("pretrain", "sft", *ALIGNED)}
PROMPTS = ARTIFACTS / "prepare/prompts/test.jsonl"
DEMONSTRATIONS = ARTIFACTS / "prepare/demonstrations/train.jsonl"
TEST_TOKENS = ARTIFACTS / "prepare/tokens/test.bin"
TEXT_BATCH = 32
NEWLINE = "\n"


def evaluate(stage: Stage) -> None:
    """The whole stage."""
    params = stage.params
    tokenizer = load_tokenizer(MODELS["ppo"])
    prompts = load_prompts(
        PROMPTS, tokenizer, max_tokens=params.prepare.max_prompt_tokens, limit=params.evaluate.num_prompts
    )
    gold = Gold.of_demonstrations(DEMONSTRATIONS)
    models = {name: load_gpt(folder) for name, folder in MODELS.items()}
    replies = {name: _replies(stage, name, model, tokenizer, prompts) for name, model in models.items()}
    sets = {name: _score(stage, ids, tokenizer, prompts, gold) for name, ids in replies.items()}
    metrics: dict[str, Any] = {"seed": params.seed, "prompts": len(prompts)}
    text = {name: _text_loss(stage, model) for name, model in models.items()}
    for name in MODELS:
        metrics[name] = sets[name].figures() | text[name]
    metrics["sft"] |= _sft_figures()
    metrics["reward"] = _reward_figures(gold)
    metrics["best_of_n"] = _best_of_n(stage, gold, tokenizer)
    for name in ALIGNED:
        metrics[name] |= _alignment_figures(stage, name, models, replies[name], prompts, tokenizer, sets)
        metrics[name]["pretrain_loss_increase"] = text[name]["test_loss"] / text["sft"]["test_loss"] - 1
    stage.metrics |= metrics
    gates = verdicts(params.gates, metrics)
    _write(stage, prompts, sets, gates)
    _promote(stage, gates)


def _replies(
    stage: Stage, name: str, model: GPT, tokenizer: ChatTokenizer, prompts: list[EncodedPrompt]
) -> list[list[int]]:
    """One reply a prompt. The base model knows no chat markers: it continues the plain text by a line."""
    params = stage.params
    end_id = tokenizer.end
    if name == "pretrain":
        (end_id,) = tokenizer.encode_text(NEWLINE)
        prompts = [
            EncodedPrompt(p.id, p.messages, _as_text(p, tokenizer)[-params.prepare.max_prompt_tokens :])
            for p in prompts
        ]
    logger.info("%s replies to %d prompts", name, len(prompts))
    with Progress(len(prompts), "replies") as progress:
        return sample_all(
            model,
            tokenizer,
            prompts,
            params.generation,
            precision=params.compute.precision,
            batch_size=params.evaluate.batch_size,
            seed=params.seed + 999,
            end_id=end_id,
            progress=progress,
        )


def _as_text(prompt: EncodedPrompt, tokenizer: ChatTokenizer) -> list[int]:
    return tokenizer.encode_text("".join(message.content.replace("\n", " ") + NEWLINE for message in prompt.messages))


@torch.no_grad()
def _score(
    stage: Stage, replies: list[list[int]], tokenizer: ChatTokenizer, prompts: list[EncodedPrompt], gold: Gold
) -> ReplySet:
    """Gold and reward-model scores of each reply, as text and as chat: however the model that wrote it was prompted."""
    params = stage.params
    texts = [tokenizer.decode(ids).strip() for ids in replies]
    reward_model = load_scalar(ARTIFACTS / "reward/model")
    scores: list[float] = []
    for start in range(0, len(prompts), params.evaluate.batch_size):
        part = slice(start, start + params.evaluate.batch_size)
        said = [encode_reply(tokenizer, text, max_tokens=params.generation.max_new_tokens) for text in texts[part]]
        batch = pack([prompt.ids for prompt in prompts[part]], said, pad_id=tokenizer.pad)
        with autocast(params.compute.precision, "cpu"):
            scores += sequence_scores(reward_model, batch).tolist()
    return ReplySet(
        texts=texts,
        num_tokens=[len(ids) for ids in replies],
        ended=[len(ids) < params.generation.max_new_tokens or ids[-1] in _end_ids(tokenizer) for ids in replies],
        gold=[gold.score(prompt.user, text) for prompt, text in zip(prompts, texts, strict=True)],
        reward=scores,
    )


def _end_ids(tokenizer: ChatTokenizer) -> set[int]:
    return {tokenizer.end, *tokenizer.encode_text(NEWLINE)}


def _text_loss(stage: Stage, model: GPT) -> dict[str, float]:
    """Likelihood of the test split's plain text."""
    tokens = TokenFile(TEST_TOKENS, context_length=model.config.context_length)

    def loss(windows: Tensor) -> Tensor:
        with autocast(stage.params.compute.precision, windows.device):
            return next_token_loss(model(windows[:, :-1]), model.head, windows[:, 1:])

    max_batches = max(1, stage.params.evaluate.text_windows // TEXT_BATCH)
    nats = token_file_loss(loss, tokens, batch_size=TEXT_BATCH, max_batches=max_batches)
    return {
        "test_loss": nats,
        "test_bits_per_byte": bits_per_byte(nats * tokens.meta.tokens, tokens.meta.bytes),
    }


def _sft_figures() -> dict[str, float]:
    own = json.loads((ARTIFACTS / "sft/metrics.json").read_text())
    return {
        "validation_loss": own["validation"]["loss"],
        "validation_loss_ratio": own["validation"]["loss"] / own["untuned"]["validation/loss"],
        "trained_fraction": own["trained_fraction"],
    }


def _reward_figures(gold: Gold) -> dict[str, float]:
    """The reward model's held-out accuracy beside the ceiling that the labeler's noise allows."""
    figures = {
        f"test_{key}": value
        for key, value in json.loads((ARTIFACTS / "reward/metrics.json").read_text())["test"].items()
    }
    labeler = json.loads((ARTIFACTS / "compare/labeler.json").read_text())
    if labeler.pop("kind") != "simulated":
        return figures  # people's noise is not known, so neither is the ceiling
    golds = [
        np.array([gold.score(row.messages[-1].content, reply) for reply in row.replies])
        for row in read_records(ARTIFACTS / "compare/test.jsonl", Comparison)
    ]
    ceiling = LabelerModel(**labeler).ceiling(pair_differences(golds))
    return figures | {"label_ceiling": ceiling, "share_of_ceiling": figures["test_pair_accuracy"] / ceiling}


@torch.no_grad()
def _best_of_n(stage: Stage, gold: Gold, tokenizer: ChatTokenizer) -> dict[str, dict[str, float]]:
    """What the reward model gains by picking among the SFT model's replies to the held-out comparisons' prompts."""
    params = stage.params
    reward_model = load_scalar(ARTIFACTS / "reward/model")
    records = list(read_records(ARTIFACTS / "compare/test.jsonl", Comparison))
    encoded = load_comparisons(
        ARTIFACTS / "compare/test.jsonl",
        tokenizer,
        max_prompt_tokens=params.prepare.max_prompt_tokens,
        max_reply_tokens=params.generation.max_new_tokens,
    )
    scores = []
    for start in range(0, len(encoded), TEXT_BATCH):
        part = encoded[start : start + TEXT_BATCH]
        with autocast(params.compute.precision, "cpu"):
            flat = sequence_scores(reward_model, as_rows(part, pad_id=tokenizer.pad)).numpy()
        scores += np.split(flat, np.cumsum([len(c.replies) for c in part])[:-1])
    golds = [np.array([gold.score(row.messages[-1].content, reply) for reply in row.replies]) for row in records]
    return best_of_n_curve(scores, golds)


@torch.no_grad()
def _alignment_figures(
    stage: Stage,
    aligned: str,
    models: dict[str, GPT],
    replies: list[list[int]],
    prompts: list[EncodedPrompt],
    tokenizer: ChatTokenizer,
    sets: dict[str, ReplySet],
) -> dict[str, float]:
    """What alignment gained and what it cost."""
    params = stage.params
    divergences: list[float] = []
    sampling = sampling_of(params.generation)
    for start in range(0, len(prompts), params.evaluate.batch_size):
        part = slice(start, start + params.evaluate.batch_size)
        batch = pack([prompt.ids for prompt in prompts[part]], replies[part], pad_id=tokenizer.pad)
        with autocast(params.compute.precision, "cpu"):
            kept = candidates(response_logits(models[aligned], batch), sampling) if sampling.cuts else None
            if kept is not None:
                kept = kept.scatter(-1, batch.response_ids[..., None], True)
            own, reference = (response_logprobs(models[name], batch, sampling, kept) for name in (aligned, "sft"))
        divergences += kl_k1(own, reference).sum(dim=1).tolist()
    interval = win_rate(sets[aligned].gold, sets["sft"].gold, [prompt.group for prompt in prompts], seed=params.seed)
    return {
        "gold_win_rate": interval.mean,
        "gold_win_rate_low": interval.low,
        "gold_win_rate_high": interval.high,
        "kl": float(np.mean(divergences)),
    }


def _write(stage: Stage, prompts: list[EncodedPrompt], sets: dict[str, ReplySet], gates: dict[str, list[str]]) -> None:
    rows: list[dict[str, Any]] = [
        {"id": prompt.id, "user": prompt.user}
        | {name: {"reply": s.texts[i], "gold": s.gold[i], "reward": s.reward[i]} for name, s in sets.items()}
        for i, prompt in enumerate(prompts)
    ]
    with stage.path("replies.jsonl").open("w") as out:
        out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_report(stage.out, ARTIFACTS, stage.metrics, rows, gates, samples=stage.params.evaluate.report_samples)
    for name in ("report.md", "report.html", "plots"):
        stage.tracker.log_file(stage.path(name), "plots" if name == "plots" else "")
    table = [{"user": row["user"]} | {name: row[name]["reply"] for name in sets} for row in rows]
    stage.tracker.log_table("replies", table[: stage.params.evaluate.report_samples * 4], 0)


def _promote(stage: Stage, gates: dict[str, list[str]]) -> None:
    for name, failed in gates.items():
        record = StageRecord.load(name)
        verdict = "gate passed" if not failed else "gate closed: " + "; ".join(failed)
        logger.info("gpt-%s: %s", name, verdict)
        if record is not None and record.model_version is not None:
            stage.tracker.promote(name, record.model_version, failed)
