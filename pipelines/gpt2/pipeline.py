"""GPT-2 (Radford et al. 2019): a language model of plain text, judged by the likelihood of held-out text."""

from components.stage import Pipeline, node
from pipelines.default.pipeline import PIPELINE as DEFAULT

PIPELINE = Pipeline(
    *(DEFAULT.nodes[name] for name in ("prepare", "pretrain")),
    node("held_out", tokenizer="prepare/tokenizer.json", tokens="prepare/tokens"),
    node(
        "evaluate",
        models=("pretrain/model",),
        plain=("pretrain/model",),
        prompts=("prepare/prompts",),
        tokens=("prepare/tokens",),
        demonstrations=("prepare/demonstrations",),
        curves=("pretrain/history.csv",),
    ),
)
