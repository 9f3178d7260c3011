"""Prompts alone, and plain text."""

from components.data.formats.format import Format, Found, Row
from components.data.formats.turns import BESIDE, before

_TEXTS = ("text", "document", "content")


def _prompt(row: Row) -> list[Found]:
    return [Found("prompts", {"messages": before(row, ("prompt",))})]


def _text(row: Row) -> list[Found]:
    given = [name for name in _TEXTS if name in row]
    if len(given) > 1:
        raise ValueError(f"`{given[0]}` and `{given[1]}` both hold a text: keep one")
    if not isinstance(row.get("corpus", ""), str):
        raise ValueError("`corpus` is the name of a corpus, a text")
    corpus = {"corpus": row["corpus"]} if row.get("corpus") else {}
    return [Found("documents", {"text": row[given[0]]} | corpus)]


PROMPTS = Format("prompts", lambda row: "prompt" in row, BESIDE | {"prompt"}, _prompt)
DOCUMENTS = Format("plain text", lambda row: bool(row.keys() & set(_TEXTS)), frozenset((*_TEXTS, "corpus")), _text)
