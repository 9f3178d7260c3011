"""What an exported model says of itself: what it is, what made it, its figures and verdict."""

import json
from pathlib import Path
from typing import Any

from components.data.chat_format import ChatFormat
from components.lineage import StageRecord, flatten

FIGURES = 40  # rows of the table


def card(source: Path, format: ChatFormat, *, scores: bool) -> str:
    """The page, in Markdown, of a model folder; what lies beside the folder, as in `artifacts/<node>/`, is told too."""
    config = json.loads((source / "config.json").read_text())
    record = StageRecord.load(source.parent.name, source.parent.parent)
    name = record.model_name if record is not None and record.model_name else source.parent.name
    version = f", version {record.model_version}" if record is not None and record.model_version else ""
    lines = [
        f"# {name}",
        "",
        f"A {'reward model' if scores else 'language model'}{version}, exported from a lineage of gptlineage: "
        f"{config.get('family', 'gpt2')}, {config['num_layers']} layers, width {config['width']}, "
        f"{config['num_heads']} heads, {config['vocab_size']} tokens, context {config['context_length']}.",
        "",
        *_offset(scores),
        f"Trained in {config.get('precision', 'a precision that is not recorded')}. A reply ends with `{format.end}`;",
        "the chat template breaks markers that a message holds, so that no message makes a turn.",
        "",
        "Its licence is that of the model and the data that it was made from.",
    ]
    verdicts = _verdict(source, record)
    return "\n".join([*lines, *verdicts, *_figures(source.parent / "metrics.json")]) + "\n"


def _offset(scores: bool) -> list[str]:
    return ["Its score is the reward less `reward_offset` of config.json.", ""] if scores else []


def _verdict(source: Path, record: StageRecord | None) -> list[str]:
    """What the lineage's evaluation said of the model, where it judged this very run."""
    judge = StageRecord.load("evaluate", source.parent.parent)
    verdict = judge.gates.get(source.parent.name) if judge is not None else None
    if record is None or verdict is None or verdict["run_id"] != record.run_id:
        return []
    return ["", f"Gate: {verdict['verdict']}"]


def _figures(path: Path) -> list[str]:
    if not path.exists():
        return []
    found: dict[str, Any] = dict(flatten(json.loads(path.read_text()), separator="."))
    rows = [f"| {name} | {value} |" for name, value in list(found.items())[:FIGURES]]
    return ["", "| figure of the stage that made it | value |", "|---|---|", *rows]
