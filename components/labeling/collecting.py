"""Collecting comparisons: replies are sampled and ranked by a simulated labeler, or people's are taken."""

import itertools
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from components.arithmetic import device_of, precision_of
from components.checkpoints import load_gpt, load_tokenizer
from components.data.digests import hash_fraction
from components.data.records import Comparison, RecordError, group_of, read_records, write_records
from components.labeling.gold import Gold
from components.labeling.simulated import calibrate, pair_differences
from components.models.replies import EncodedPrompt, Reply, load_prompts, sample_all
from components.progress import Progress
from components.work import Work

if TYPE_CHECKING:
    from components.stages.compare import Compare, SimulatedLabeler

SPLITS = ("train", "judge", "validation", "test")
PROMPTS_AT_ONCE = 256


def collect(stage: "Work[Compare]") -> None:
    """Comparisons by the labeler of the parameters, checked and split."""
    labeler = stage.section.labeler
    comparisons = _simulate(stage, labeler) if labeler.kind == "simulated" else _read(stage, _brought(stage))
    if not any(len(set(comparison.ranks)) > 1 for comparison in comparisons):
        raise RecordError(f"all replies of all {len(comparisons)} comparisons tie: there is nothing to learn from them")
    for name in SPLITS:
        rows = [row for row in comparisons if split_of(group_of(row), stage.section) == name]
        if not rows and not (name == "judge" and labeler.kind == "simulated"):
            groups = len({group_of(row) for row in comparisons})
            raise RecordError(
                f"of {len(comparisons)} comparisons in {groups} group(s) none falls into the {name} split: bring more, "
                "or raise compare.validation_fraction and test_fraction. What shares a `group` stays together"
            )
        write_records(stage.path(f"{name}.jsonl"), rows)
        stage.metrics[name] = _describe(rows)


def split_of(group: str, params: "Compare") -> str:
    """The split of a comparison, by its conversation: two prompts cut from one share most of their words."""
    coin = hash_fraction(group, "comparison")
    if coin < params.test_fraction:
        return "test"
    if coin < params.test_fraction + params.validation_fraction:
        return "validation"
    return "judge" if params.labeler.kind != "simulated" and hash_fraction(group, "judge") < 0.5 else "train"


def _brought(stage: "Work[Compare]") -> list[Path]:
    """The files of comparisons by people, as the labeler of the parameters says."""
    if stage.section.labeler.kind == "file":
        return [stage.read("comparisons")]
    return list(stage.read_all("people").values())


def _read(stage: "Work[Compare]", paths: list[Path]) -> list[Comparison]:
    comparisons = [row for path in paths for row in read_records(path, Comparison)]
    if not comparisons:
        kind = stage.section.labeler.kind
        why = {"file": "the data holds no comparisons: let ingest.source bring some",
               "people": "nobody has ranked replies yet, or no gather feeds this node: docs/labelling.md"}  # fmt: skip
        raise RecordError(f"compare.labeler is `{kind}`, but {why[kind]}")
    # To later stages people are a file: what they like has no formula that could judge.
    stage.path("labeler.json").write_text(json.dumps({"kind": "file"}) + "\n")
    return comparisons


def _simulate(stage: "Work[Compare]", labeler: "SimulatedLabeler") -> list[Comparison]:
    gold = Gold.of_demonstrations(stage.read("demonstrations"))
    prompts, replies, texts = _sample(stage)
    scores = [
        np.array([gold.score(prompt.user, text) for text in own]) for prompt, own in zip(prompts, texts, strict=True)
    ]
    try:
        model = calibrate(scores, agreement=labeler.agreement, tie_margin=labeler.tie_margin)
    except ValueError as error:
        raise RecordError(f"the labeler cannot rank the SFT model's replies: {error}") from None
    differences = pair_differences(scores)
    stage.metrics["labeler"] = {
        **asdict(model),
        "agreement": model.agreement(differences),
        "ceiling": model.ceiling(differences),
        "mean_gold": float(np.mean(np.concatenate(scores))),
    }
    stage.metrics["ended_share"] = float(np.mean([reply.ended for own in replies for reply in own]))
    stage.path("labeler.json").write_text(json.dumps({"kind": "simulated", **asdict(model)}) + "\n")
    generator = np.random.default_rng((stage.seed, 1))
    return [
        Comparison(
            id=prompt.id,
            group=prompt.group,
            messages=prompt.messages,
            replies=tuple(text),
            ranks=tuple(model.rank(score, generator)),
            sampled=tuple(tuple(reply.ids) for reply in own),
            ended=tuple(reply.ended for reply in own),
        )
        for prompt, own, text, score in zip(prompts, replies, texts, scores, strict=True)
    ]


def _sample(stage: "Work[Compare]") -> tuple[list[EncodedPrompt], list[list[Reply]], list[list[str]]]:
    """K replies to each prompt, and their texts, some prompts at a time; finished ones survive a kill."""
    params, k = stage.section, stage.section.replies_per_prompt
    policy = stage.read("policy")
    model, tokenizer = load_gpt(policy).to(device_of(stage)), load_tokenizer(policy)
    prompts = load_prompts(
        stage.read("prompts"),
        tokenizer,
        max_tokens=stage.limits.max_prompt_tokens,
        limit=params.num_prompts,
    )
    replies: list[Reply] = []
    parts = [stage.state / f"replies-{start:06d}.json" for start in range(0, len(prompts), PROMPTS_AT_ONCE)]
    for part in itertools.takewhile(Path.exists, parts):
        replies += [Reply(**row) for row in json.loads(part.read_text())]
    with Progress(len(prompts) * k, "replies", done=len(replies)) as progress:
        for start in range(len(replies) // k, len(prompts), PROMPTS_AT_ONCE):
            with stage.rates.timed("sampling") as lap:
                found = sample_all(
                    model,
                    tokenizer,
                    [prompt for prompt in prompts[start : start + PROMPTS_AT_ONCE] for _ in range(k)],
                    stage.generation,
                    precision=precision_of(stage),
                    seed=stage.seed + 1 + start,
                    progress=progress,
                )
                lap.tokens = sum(len(reply.ids) for reply in found)
            part = parts[start // PROMPTS_AT_ONCE]
            part.with_suffix(".partial").write_text(json.dumps([asdict(reply) for reply in found]))
            part.with_suffix(".partial").rename(part)
            replies += found
    rows = [replies[start : start + k] for start in range(0, len(replies), k)]
    return prompts, rows, [[reply.text(tokenizer) for reply in own] for own in rows]


def _describe(rows: list[Comparison]) -> dict[str, float]:
    pairs = ties = 0
    for row in rows:
        ranks = np.array(row.ranks)
        first, second = np.triu_indices(len(ranks), 1)
        pairs += len(first)
        ties += int((ranks[first] == ranks[second]).sum())
    return {"prompts": len(rows), "pairs": pairs - ties, "ties": ties}
