"""Compare: the SFT model samples K replies a prompt and a labeler ranks them (InstructGPT, section 3.4).

Writes `artifacts/compare/{train,test}.jsonl`, split by prompt. The simulated labeler ranks by a gold score plus noise
(see components/labeling); the file labeler takes the comparisons that ingest brought from the user.
"""

import itertools
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from components.checkpoints import load_gpt, load_tokenizer
from components.data.digests import hash_fraction
from components.data.records import Comparison, RecordError, group_of, read_records, write_records
from components.labeling.gold import Gold
from components.labeling.simulated import calibrate, pair_differences
from components.progress import Progress
from components.schema import SimulatedLabeler
from components.stages.replies import EncodedPrompt, load_prompts, sample_texts
from components.stages.runtime import Stage

SFT = Path("artifacts/sft/model")
PROMPTS = Path("artifacts/prepare/prompts/compare.jsonl")
DEMONSTRATIONS = Path("artifacts/prepare/demonstrations/train.jsonl")
BROUGHT = Path("artifacts/prepare/comparisons.jsonl")
PROMPTS_AT_ONCE = 256


def compare(stage: Stage) -> None:
    """The whole stage."""
    labeler = stage.params.compare.labeler
    comparisons = _simulate(stage, labeler) if isinstance(labeler, SimulatedLabeler) else _read_brought(stage)

    def in_test(comparison: Comparison) -> bool:
        # By conversation, not by prompt: two prompts cut from one conversation share most of their words.
        return hash_fraction(group_of(comparison), "comparison") < stage.params.compare.test_fraction

    splits: dict[str, Callable[[Comparison], bool]] = {"test": in_test, "train": lambda c: not in_test(c)}
    for name, belongs in splits.items():
        rows = [comparison for comparison in comparisons if belongs(comparison)]
        if not rows:
            raise RecordError(f"no comparison falls into the {name} split: more than {len(comparisons)} are needed")
        write_records(stage.path(f"{name}.jsonl"), rows)
        stage.metrics[name] = _describe(rows)


def _read_brought(stage: Stage) -> list[Comparison]:
    comparisons = list(read_records(BROUGHT, Comparison))
    if not comparisons:
        raise RecordError("compare.labeler is `file`, but the data holds no comparisons: let ingest.source bring some")
    stage.path("labeler.json").write_text(json.dumps({"kind": "file"}) + "\n")
    return comparisons


def _simulate(stage: Stage, labeler: SimulatedLabeler) -> list[Comparison]:
    params = stage.params
    gold = Gold.of_demonstrations(DEMONSTRATIONS)
    prompts, replies = _sample(stage)
    scores = [
        np.array([gold.score(prompt.user, reply) for reply in own])
        for prompt, own in zip(prompts, replies, strict=True)
    ]
    model = calibrate(scores, agreement=labeler.agreement, tie_margin=labeler.tie_margin)
    differences = pair_differences(scores)
    stage.metrics["labeler"] = {
        **asdict(model),
        "agreement": model.agreement(differences),
        "ceiling": model.ceiling(differences),
        "mean_gold": float(np.mean(np.concatenate(scores))),
    }
    stage.path("labeler.json").write_text(json.dumps({"kind": "simulated", **asdict(model)}) + "\n")
    generator = np.random.default_rng((params.seed, 1))
    return [
        Comparison(
            id=p.id, messages=p.messages, replies=tuple(own), ranks=tuple(model.rank(score, generator)), group=p.group
        )
        for p, own, score in zip(prompts, replies, scores, strict=True)
    ]


def _sample(stage: Stage) -> tuple[list[EncodedPrompt], list[list[str]]]:
    """K replies to each prompt, some prompts at a time; finished ones survive a kill."""
    params, k = stage.params, stage.params.compare.replies_per_prompt
    model, tokenizer = load_gpt(SFT), load_tokenizer(SFT)
    prompts = load_prompts(
        PROMPTS, tokenizer, max_tokens=params.prepare.max_prompt_tokens, limit=params.compare.num_prompts
    )
    texts: list[str] = []
    parts = [stage.state / f"replies-{start:06d}.json" for start in range(0, len(prompts), PROMPTS_AT_ONCE)]
    for part in itertools.takewhile(Path.exists, parts):
        texts += json.loads(part.read_text())
    with Progress(len(prompts) * k, "replies", done=len(texts)) as progress:
        for start in range(len(texts) // k, len(prompts), PROMPTS_AT_ONCE):
            replies = sample_texts(
                model,
                tokenizer,
                [prompt for prompt in prompts[start : start + PROMPTS_AT_ONCE] for _ in range(k)],
                params.generation,
                precision=params.compute.precision,
                batch_size=params.compare.batch_size,
                seed=params.seed + 1 + start,
                progress=progress,
            )
            part = parts[start // PROMPTS_AT_ONCE]
            part.with_suffix(".partial").write_text(json.dumps(replies))
            part.with_suffix(".partial").rename(part)
            texts += replies
    return prompts, [texts[start : start + k] for start in range(0, len(texts), k)]


def _describe(rows: list[Comparison]) -> dict[str, float]:
    pairs = ties = 0
    for row in rows:
        ranks = np.array(row.ranks)
        first, second = np.triu_indices(len(ranks), 1)
        pairs += len(first)
        ties += int((ranks[first] == ranks[second]).sum())
    return {"prompts": len(rows), "pairs": pairs - ties, "ties": ties}
