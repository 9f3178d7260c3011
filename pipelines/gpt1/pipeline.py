"""GPT (Radford et al. 2018): a language model of plain text, fine-tuned to tell classes of texts and to choose.

Beside each fine-tuned model two that the paper has as well: `-plain` without the language model's loss (lambda 0) and
`-scratch` without pretraining.
"""

from collections.abc import Iterator

from components.stage import Node, Pipeline, node
from pipelines.default.pipeline import PIPELINE as DEFAULT

TASKS = ("classification", "entailment", "similarity", "choice")
MODELS = tuple(f"{task}{how}" for task in TASKS for how in ("", "-plain", "-scratch"))


def telling(task: str) -> Iterator[Node]:
    """A task's texts and the models that learn from them."""
    yield node(f"labelled-{task}", stage="labelled", demonstrations=("prepare/demonstrations",))
    for name in MODELS:
        if name.partition("-")[0] == task:
            yield node(name, stage="finetune", base="pretrain/model", items=f"labelled-{task}/items")


PIPELINE = Pipeline(
    *(DEFAULT.nodes[name] for name in ("prepare", "pretrain")),
    *(each for task in TASKS for each in telling(task)),
    node(
        "evaluate",
        models=("pretrain/model",),
        plain=("pretrain/model",),
        classifiers=tuple(f"{name}/model" for name in MODELS),
        tokens=("prepare/tokens",),
        curves=("pretrain/history.csv", *(f"{name}/history.csv" for name in MODELS)),
    ),
)
