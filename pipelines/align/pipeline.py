"""A model that somebody else trained, aligned: fine-tuning, a reward model and PPO, as adapters of one trunk."""

from components.stage import Pipeline, node
from pipelines.default.pipeline import PIPELINE as DEFAULT

PIPELINE = Pipeline(
    node("adopt"),
    node("prepare", data="./data", base=("adopt/model",)),
    node("sft", base="adopt/model", demonstrations="prepare/demonstrations"),
    *(DEFAULT.nodes[name] for name in ("compare", "reward", "ppo")),
    node(
        "evaluate",
        models=("adopt/model", "sft/model", "ppo/model"),
        reference=("adopt/model",),
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
        curves=tuple(f"{name}/history.csv" for name in ("sft", "reward", "ppo")),
    ),
)
