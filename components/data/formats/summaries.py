"""Comparisons of summaries, as OpenAI's summarize-from-feedback publishes them (arXiv:2009.01325)."""

from typing import Any

from components.data.formats.format import Format, Found, Row
from components.data.formats.ranking import comparison


def _read(row: Row) -> list[Found]:
    """A post to summarise, and the summaries of which one was chosen."""
    if "summaries" not in row:
        raise ValueError(
            "one `summary` with its ratings compares nothing: take the set's `comparisons`, not its `axis`"
        )
    summaries, choice = row["summaries"], row.get("choice")
    texts = [item.get("text") for item in summaries if isinstance(item, dict)] if isinstance(summaries, list) else []
    if len(texts) < 2 or not all(isinstance(text, str) for text in texts) or len(texts) != len(summaries):
        raise ValueError("`summaries` is no list of two or more objects with a `text`")
    if not isinstance(choice, int) or isinstance(choice, bool) or not 0 <= choice < len(texts):
        raise ValueError(f"`choice` is {choice!r}: the place of one of {len(texts)} summaries, from 0, is due")
    ranks = [1 if place == choice else 2 for place in range(len(texts))]
    info = row["info"] if isinstance(row["info"], dict) else {}
    fields = {"group": f"post:{info['id']}"} if info.get("id") else {}  # a post is judged by several people
    return [comparison([{"role": "user", "content": _question(info)}], texts, ranks, **fields)]


def _question(info: dict[str, Any]) -> str:
    """The text that the paper's models continue."""
    if "post" in info:
        lines = [f"{name.upper()}: {lead}{info[name]}" for name, lead in _LINES if name in info]
    elif "article" in info:
        lines = [str(info["article"])]
    else:
        raise ValueError("`info` holds neither a `post` nor an `article`")
    return "\n\n".join([*lines, "TL;DR:"])


_LINES = (("subreddit", "r/"), ("title", ""), ("post", ""))
FORMAT = Format(
    "comparisons of summaries",
    lambda row: "info" in row and bool({"summaries", "summary"} & row.keys()),
    frozenset(("info", "summaries", "summary", "choice")),
    _read,
)
