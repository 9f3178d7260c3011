"""KTO: a completion is labelled good or not, alone (arXiv:2402.01306)."""

import hashlib
from typing import Any

from components.data.formats.answers import answered
from components.data.formats.format import Format, Found, Row
from components.data.formats.turns import BESIDE

_LABELS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
_BAD = "of completions labelled false the prompt alone is kept"


def _read(row: Row) -> list[Found]:
    """What is labelled true is imitated; of what is not, the prompt is kept. Rows of one prompt are of one group."""
    messages = answered(row, "prompt", "completion")
    asked = messages[:-1]
    group = {"group": "prompt:" + hashlib.sha256(repr(asked).encode()).hexdigest()[:16]}
    if _is_good(row["label"]):
        return [Found("demonstrations", {"messages": messages, **group})]
    return [Found("prompts", {"messages": asked, **group}, (_BAD,))]


def _is_good(label: Any) -> bool:
    found = _LABELS.get(str(label).strip().lower())
    if found is None:
        raise ValueError(f"`label` is {label!r}: true or false is due")
    return found


FORMAT = Format(
    "completions with a label, of KTO's form",
    lambda row: {"prompt", "completion", "label"} <= row.keys(),
    BESIDE | {"prompt", "completion", "label"},
    _read,
)
