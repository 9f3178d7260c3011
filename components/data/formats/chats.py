"""Conversations: OpenAI's `messages` and ShareGPT's `conversations`.

A `developer` message is a system message. Rows in which a tool is called or answers are refused.
"""

from components.data.formats.format import Format, Found, Row, kind_name
from components.data.formats.turns import BESIDE, before

_NAMES = ("messages", "conversations", "conversation")


def _read(row: Row) -> list[Found]:
    """A demonstration, or a prompt where the user has the last word; what has `ratings` is a demonstration."""
    for name in _NAMES:
        if not isinstance(row.get(name, []), list):
            raise ValueError(f"`{name}` is {kind_name(row[name])}: a list of messages is due")
    messages = before(row, _NAMES)
    if "ratings" in row:
        return [Found("demonstrations", {"messages": messages, "ratings": row["ratings"]})]
    asks = bool(messages) and messages[-1]["role"] == "user"
    return [Found("prompts" if asks else "demonstrations", {"messages": messages})]


COLUMNS = BESIDE | {*_NAMES, "ratings"}
OPENAI = Format("messages of OpenAI's form", lambda row: "messages" in row, COLUMNS, _read)
SHAREGPT = Format(
    "conversations of ShareGPT's form", lambda row: bool({"conversations", "conversation"} & row.keys()), COLUMNS, _read
)
