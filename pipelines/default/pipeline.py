"""From raw text to an aligned chat model, and the three ways to align it side by side."""

from components.stage import Pipeline, node

PIPELINE = Pipeline(
    node("prepare", data="./data"),
    node("pretrain", tokenizer="prepare/tokenizer.json", tokens="prepare/tokens"),
    node("sft", base="pretrain/model", demonstrations="prepare/demonstrations"),
    node(
        "compare",
        policy="sft/model",
        prompts="prepare/prompts/compare.jsonl",
        demonstrations="prepare/demonstrations/train.jsonl",
        comparisons="prepare/comparisons.jsonl",
    ),
    node(
        "reward",
        base="sft/model",
        labeler="compare/labeler.json",
        train="compare/train.jsonl",
        judge="compare/judge.jsonl",
        validation="compare/validation.jsonl",
        demonstrations="prepare/demonstrations/train.jsonl",
    ),
    node(
        "ppo",
        policy="sft/model",
        reward="reward/model",
        reward_figures="reward/metrics.json",
        prompts="prepare/prompts/ppo.jsonl",
        tokens="prepare/tokens",
        demonstrations="prepare/demonstrations/train.jsonl",
    ),
    node("dpo", policy="sft/model", comparisons="compare/train.jsonl"),
    node("feedme", policy="sft/model", train="compare/train.jsonl", validation="compare/validation.jsonl"),
    node(
        "evaluate",
        models=("pretrain/model", "sft/model", "ppo/model", "dpo/model", "feedme/model"),
        plain=("pretrain/model",),
        reference=("sft/model",),
        reward=("reward/model",),
        judge=("reward/judge",),
        labeler=("compare/labeler.json",),
        validation=("compare/validation.jsonl",),
        test=("compare/test.jsonl",),
        prompts=("prepare/prompts",),
        tokens=("prepare/tokens",),
        demonstrations=("prepare/demonstrations",),
        figures=("sft/metrics.json",),
        calibration=("reward/calibration.csv",),
        curves=tuple(f"{name}/history.csv" for name in ("pretrain", "sft", "reward", "ppo", "dpo", "feedme")),
    ),
)
