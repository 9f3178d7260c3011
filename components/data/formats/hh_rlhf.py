"""hh-rlhf: `chosen` and `rejected` are two transcripts of one conversation (arXiv:2204.05862)."""

from collections.abc import Mapping
from typing import Any

from components.data.formats.format import Format
from components.data.formats.preferences import COLUMNS, CONTEXTS, read
from components.data.formats.turns import is_transcript


def _recognises(row: Mapping[str, Any]) -> bool:
    chosen = row.get("chosen")
    return "rejected" in row and isinstance(chosen, str) and is_transcript(chosen) and not row.keys() & set(CONTEXTS)


FORMAT = Format("hh-rlhf transcripts", _recognises, COLUMNS, read)
