"""K replies to one prompt with their ranks: ties are kept, and at most as many replies as a record holds."""

from collections.abc import Sequence
from typing import Any

from components.data.formats.format import Found
from components.data.formats.turns import Turns

MOST = 9  # replies of a comparison (components/data/records.py)


def ranks_of(scores: Sequence[float]) -> list[int]:
    """Ranks of scores, of which a higher one is better: 1 is best, equal scores tie."""
    distinct = sorted(set(scores), reverse=True)
    return [distinct.index(score) + 1 for score in scores]


def comparison(messages: Turns, replies: Sequence[Any], ranks: Sequence[int], **fields: Any) -> Found:
    """A comparison; of more than nine replies, nine that lie evenly between the best and the worst.

    Raises:
        ValueError: replies that are the same are ranked, or all are the same.
    """
    check_replies(replies, ranks)
    places = list(range(len(replies)))
    notes: tuple[str, ...] = ()
    if len(places) > MOST:
        order = sorted(places, key=lambda place: ranks[place])
        places = sorted(order[round(step * (len(order) - 1) / (MOST - 1))] for step in range(MOST))
        notes = (f"of more than {MOST} replies, {MOST} from best to worst are kept",)
    kept = {"replies": [replies[place] for place in places], "ranks": [ranks[place] for place in places]}
    return Found("comparisons", {"messages": messages, **kept, **fields}, notes)


def check_replies(replies: Sequence[Any], ranks: Sequence[Any]) -> None:
    """Refuse replies that are the same: they cannot be better than each other.

    Raises:
        ValueError: they are.
    """
    if len(replies) > 1 and all(reply == replies[0] for reply in replies):
        raise ValueError("all replies are identical")
    first: dict[str, int] = {}
    for number, reply in enumerate(replies):
        same = first.setdefault(str(reply), number)
        if ranks[same] != ranks[number]:
            raise ValueError(f"replies {same + 1} and {number + 1} are identical and have different ranks")
