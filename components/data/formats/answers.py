"""One question, or one instruction, and its answer: Alpaca, GSM8K, prompt and completion, and the like."""

from collections.abc import Mapping
from typing import Any

from components.data.formats.format import Format, Found, Row
from components.data.formats.turns import BESIDE, before, join, turns

_ASKED = ("prompt", "question", "query")
_ANSWERS = ("answer", "response", "completion", "output")
_PAIRS = (*((asked, answer) for asked in _ASKED for answer in _ANSWERS), ("context", "completion"), ("input", "output"))


def answered(row: Row, asked: str, answer: str) -> list[dict[str, Any]]:
    """The conversation of a question (text, transcript or messages) and its answer (text or messages)."""
    said = row[answer]
    reply = (
        [{"role": "assistant", "content": said}] if isinstance(said, str) else turns(said, answer, alone="assistant")
    )
    return join(before(row, (asked,)), reply)


def _alpaca(row: Row) -> list[Found]:
    answer = "output" if "output" in row else "response"
    return [Found("demonstrations", {"messages": answered(row, "instruction", answer)})]


def _pair(row: Mapping[str, Any]) -> tuple[str, str] | None:
    return next((pair for pair in _PAIRS if set(pair) <= row.keys()), None)


def _read(row: Row) -> list[Found]:
    pair = _pair(row)
    assert pair is not None
    return [Found("demonstrations", {"messages": answered(row, *pair)})]


ALPACA = Format(
    "instructions of Alpaca's form",
    lambda row: "instruction" in row and bool({"output", "response"} & row.keys()),
    BESIDE | {"instruction", "output", "response"},
    _alpaca,
)
ANSWERS = Format(
    "questions and answers",
    lambda row: _pair(row) is not None,
    BESIDE | {name for pair in _PAIRS for name in pair},
    _read,
)
