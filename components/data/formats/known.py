"""The formats that are known, in the order they are tried: what has more to tell it by comes first."""

from collections.abc import Mapping
from typing import Any

from components.data.formats import (
    answers,
    chats,
    comparisons,
    hh_rlhf,
    kto,
    plain,
    preferences,
    reward_bench,
    scored,
    summaries,
    trees,
)
from components.data.formats.format import Format

FORMATS: tuple[Format, ...] = (
    trees.FORMAT,
    summaries.FORMAT,
    reward_bench.FORMAT,
    hh_rlhf.FORMAT,
    preferences.FORMAT,
    comparisons.FORMAT,
    scored.FORMAT,
    kto.FORMAT,
    chats.OPENAI,
    chats.SHAREGPT,
    answers.ALPACA,
    answers.ANSWERS,
    plain.DOCUMENTS,
    plain.PROMPTS,
)
COLUMNS = frozenset().union(*(each.columns for each in FORMATS))


def recognise(row: Mapping[str, Any]) -> Format | None:
    """The format of a row whose columns are not null, or None."""
    return next((each for each in FORMATS if each.recognises(row)), None)
