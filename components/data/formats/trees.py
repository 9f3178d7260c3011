"""Open-Assistant's trees of messages (arXiv:2304.07327): one row gives several records."""

from collections.abc import Iterator, Mapping
from typing import Any

from components.data.formats.format import Format, Found, Row
from components.data.formats.ranking import comparison, ranks_of
from components.data.formats.turns import Turns

_ROLES = {"prompter": "user", "user": "user", "assistant": "assistant"}
_GIVEN_UP = ("aborted_low_grade", "halted_by_moderator")
_ALIKE = "replies of a tree that are the same text are not compared"
_DELETED = "messages that their reviewers or authors took back are left out, with what follows them"
_UNRANKED = "replies without a rank, beside ranked ones, are left out"

Node = dict[str, Any]


def _recognises(row: Mapping[str, Any]) -> bool:
    return "message_tree_id" in row or (isinstance(row.get("prompt"), dict) and "replies" in row["prompt"])


def _read(row: Row) -> Iterator[Found]:
    """A tree's conversations.

    Demonstrations: every way down on which each reply is the best one. Comparisons: the ranked replies at every turn.
    Prompts: every turn of a user that nobody answered. All are of one group.
    """
    root = row.get("prompt")
    if not isinstance(root, dict):
        raise ValueError("a single message of a tree: take the set's trees, whose rows hold a `prompt` with `replies`")
    if row.get("tree_state") in _GIVEN_UP:
        raise ValueError(f"the tree is {row['tree_state']}")
    if _is_taken_back(root):
        raise ValueError("the tree's first message was taken back")
    group = str(row.get("message_tree_id") or root.get("message_id") or "")
    for found in _below(root, [], best=True):
        yield Found(found.kind, {**found.fields, **({"group": group} if group else {})}, found.notes)


def _below(asked: Node, said: Turns, *, best: bool) -> Iterator[Found]:
    """The records from a user's turn on; `best` says whether all replies before it are the best ones."""
    messages = [*said, _turn(asked)]
    replies, gone = _kept(asked)
    ranked = [reply for reply in replies if "rank" in reply]
    notes = ((_DELETED,) if gone else ()) + ((_UNRANKED,) if 0 < len(ranked) < len(replies) else ())
    if not all(isinstance(reply["rank"], int | float) for reply in ranked):
        raise ValueError("a `rank` in the tree is no number")
    replies = sorted(ranked, key=lambda reply: reply["rank"]) or replies
    if not replies:
        yield Found("prompts", {"messages": messages}, notes)
    if len(ranked) > 1:
        yield from _compared(messages, ranked, notes)
    for place, reply in enumerate(replies):
        whole = [*messages, _turn(reply)]
        further, _ = _kept(reply)
        if best and place == 0 and not any(_kept(turn)[0] for turn in further):
            yield Found("demonstrations", {"messages": whole}, notes)
        for turn in further:
            yield from _below(turn, whole, best=best and place == 0)


def _compared(messages: Turns, ranked: list[Node], notes: tuple[str, ...]) -> Iterator[Found]:
    try:
        found = comparison(
            messages, [reply.get("text") for reply in ranked], ranks_of([-reply["rank"] for reply in ranked])
        )
        yield Found(found.kind, found.fields, found.notes + notes)
    except ValueError:
        yield Found("prompts", {"messages": messages}, (*notes, _ALIKE))


def _kept(node: Node) -> tuple[list[Node], bool]:
    """The messages that follow one, without those that were taken back; and whether there are such."""
    below = node.get("replies", [])
    if not isinstance(below, list) or not all(isinstance(reply, dict) for reply in below):
        raise ValueError("`replies` in the tree is no list of messages")
    kept = [reply for reply in below if not _is_taken_back(reply)]
    return kept, len(kept) < len(below)


def _is_taken_back(node: Node) -> bool:
    return bool(node.get("deleted")) or node.get("review_result") is False


def _turn(node: Node) -> dict[str, Any]:
    return {"role": _ROLES.get(str(node.get("role")), node.get("role")), "content": node.get("text")}


FORMAT = Format("Open-Assistant trees", _recognises, frozenset(("prompt", "message_tree_id", "tree_state")), _read)
