"""RewardBench: a prompt with better and worse completions (arXiv:2403.13787; its second version has lists of them)."""

from collections.abc import Mapping
from typing import Any

from components.data.formats.format import Format, Found, Row
from components.data.formats.preferences import COLUMNS, as_comparison
from components.data.formats.ranking import comparison
from components.data.formats.turns import before


def _recognises(row: Mapping[str, Any]) -> bool:
    return {"chosen", "rejected", "subset"} <= row.keys() and (_has_lists(row) or "chosen_model" in row)


def _has_lists(row: Mapping[str, Any]) -> bool:
    return all(
        isinstance(row[name], list) and row[name] and all(isinstance(item, str) for item in row[name])
        for name in ("chosen", "rejected")
    )


def _read(row: Row) -> list[Found]:
    """The better ones tie, as do the worse ones."""
    if not _has_lists(row):
        return [Found("comparisons", as_comparison(row))]
    replies = [*row["chosen"], *row["rejected"]]
    ranks = [1] * len(row["chosen"]) + [2] * len(row["rejected"])
    return [comparison(before(row, ("prompt",)), replies, ranks)]


FORMAT = Format("RewardBench", _recognises, COLUMNS, _read)
