"""Our own comparisons: `messages`, `replies` and their `ranks`."""

from components.data.formats.format import Format, Found, Row
from components.data.formats.ranking import check_replies
from components.data.formats.turns import BESIDE, before

_CONTEXTS = ("messages", "conversations", "prompt")
_OWN = ("replies", "ranks", "sampled", "ended")


def _read(row: Row) -> list[Found]:
    replies, ranks = row["replies"], row.get("ranks")
    if isinstance(replies, list) and isinstance(ranks, list) and len(replies) == len(ranks):
        check_replies(replies, ranks)  # what else may be wrong is the schema's to say
    own = {name: row[name] for name in _OWN if name in row}
    return [Found("comparisons", {"messages": before(row, _CONTEXTS), **own})]


COLUMNS = BESIDE | {*_CONTEXTS, *_OWN}
FORMAT = Format("ranked replies", lambda row: "replies" in row, COLUMNS, _read)
