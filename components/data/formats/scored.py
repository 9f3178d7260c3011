"""Lists of scored or ranked completions, as UltraFeedback's (arXiv:2310.01377) or Nectar's."""

import math
from collections.abc import Mapping
from typing import Any

from components.data.formats.format import Format, Found, Row, kind_name
from components.data.formats.ranking import comparison, ranks_of
from components.data.formats.turns import BESIDE, before

_ASKED = ("instruction", "prompt", "question")
_LISTS = ("completions", "responses", "answers")
_TEXTS = ("response", "text", "content", "completion", "answer", "output")
# Of UltraFeedback's two, the mean of the ratings comes first: its overall score is at times 10 where 1 was meant.
_SCORES = ("score", "rating", "fine-grained_score", "overall_score")


def _recognises(row: Mapping[str, Any]) -> bool:
    return any(isinstance(row.get(name), list) for name in _LISTS) and any(name in row for name in _ASKED)


def _read(row: Row) -> list[Found]:
    name = next(name for name in _LISTS if isinstance(row.get(name), list))
    items, key = row[name], next((key for key in ("scores", "ranks") if key in row), None)
    if key:
        values = row[key]
        if not isinstance(values, list) or len(values) != len(items):
            raise ValueError(f"`{key}` and `{name}` are not of one length")
        items = [{"text": item, key.removesuffix("s"): value} for item, value in zip(items, values, strict=True)]
    found = [_scored(item, f"item {number} of `{name}`") for number, item in enumerate(items, start=1)]
    return [comparison(before(row, _ASKED), [text for text, _ in found], ranks_of([score for _, score in found]))]


def _scored(item: Any, where: str) -> tuple[str, float]:
    """A completion's text, and a score of which a higher one is better."""
    if not isinstance(item, dict):
        raise ValueError(f"{where} is {kind_name(item)}: an object with its text and its score is due")
    text = next((item[key] for key in _TEXTS if key in item), None)
    if not isinstance(text, str):
        raise ValueError(f"{where} has no text: one of {', '.join(_TEXTS)} is due")
    key = next((key for key in (*_SCORES, "rank") if key in item), None)
    try:
        score = float(item[key]) if key else math.nan
    except (TypeError, ValueError):
        score = math.nan
    if math.isnan(score):
        raise ValueError(f"{where} has no score: a number as one of {', '.join(_SCORES)} or `rank` is due")
    return text, -score if key == "rank" else score


FORMAT = Format(
    "completions with scores",
    _recognises,
    BESIDE | {*_ASKED, *_LISTS, "scores", "ranks"},
    _read,
)
