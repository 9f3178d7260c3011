"""Labelled: texts with their classes, or questions with choices, to fine-tune a model on (GPT, section 3.2).

They are the user's, or made of conversations, which need no labels. One file a split; docs/evaluation.md has the keys.
"""

from typing import TYPE_CHECKING, Annotated, Any

from components.sections.base import Seed, section
from components.sections.seam import Seam
from components.stage import Kind, Several, Stage

if TYPE_CHECKING:
    from components.work import Work


@section
class LabelledTexts:
    """Where the texts come from."""

    source: Annotated[Any, Seam("components.data.labelled")]


def run(work: "Work[LabelledTexts]") -> None:
    """The whole stage."""
    import json
    from collections import Counter

    conversations = next(iter(work.read_all("demonstrations").values()), None)
    folder = work.path("items")
    folder.mkdir(exist_ok=True)
    for split, rows in work.section.source.rows(conversations, seed=work.seed).items():
        (folder / f"{split}.jsonl").write_text(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
        )
        classes = Counter(str(row.get("label", row.get("gold"))) for row in rows)
        work.metrics[split] = {"rows": len(rows), "classes": dict(sorted(classes.items()))}


STAGE = Stage(
    LabelledTexts,
    run,
    reads={"demonstrations": Several(Kind.DEMONSTRATIONS)},
    makes={"items": Kind.ITEMS},
    shared={"seed": Seed},
)
