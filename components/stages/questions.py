"""Questions: small sets with answers for the pipeline `prompts`, made by rule so that nothing has to be fetched.

`sums`: stories of two steps with numbers, and how one comes to the answer. `feelings`: what somebody says of something,
good or bad. Your own sets have the same keys (docs/prompts.md).
"""

import json
import random
from typing import TYPE_CHECKING

from components.sections.base import Count, Seed, section
from components.stage import Kind, Stage

if TYPE_CHECKING:
    from components.work import Work

NAMES = ("Tom", "Anna", "Ben", "Mia", "Sam", "Lily", "Max", "Eva")
THINGS = ("apples", "books", "coins", "shells", "cards", "pencils", "stones", "eggs")
GOOD = ("wonderful", "a joy", "great", "lovely", "better than I had hoped", "the best in years")
BAD = ("awful", "a waste of time", "boring", "terrible", "worse than I had feared", "the worst in years")
WHAT = ("The film", "The meal", "That book", "The concert", "Our hotel", "The new album", "This game", "The trip")
MORE = ("I told all my friends.", "We talked about it all evening.", "My sister says the same.", "It was on Friday.")


@section
class Questions:
    """How many questions of each set are asked, and how many answered ones may be shown."""

    asked: Count
    examples: Count


Row = dict[str, str]


def a_sum(draw: random.Random) -> Row:
    """A story of two steps; no number is below 0."""
    name, thing = draw.choice(NAMES), draw.choice(THINGS)
    first, second = draw.randint(2, 30), draw.randint(2, 20)
    bought = first + second
    if draw.random() < 0.5:
        third, verb = draw.randint(1, bought - 1), "gives away"
        last, sign = bought - third, "-"
    else:
        third, verb = draw.randint(2, 20), "is given"
        last, sign = bought + third, "+"
    story = f"{name} has {first} {thing}, buys {second} more and then {verb} {third}. How many {thing} has {name} now?"
    steps = f"{first} + {second} = {bought}. {bought} {sign} {third} = {last}."
    return {"query": story, "answer": str(last), "rationale": steps}


def a_feeling(draw: random.Random) -> Row:
    """Somebody's words about something."""
    good = draw.random() < 0.5
    said = f"{draw.choice(WHAT)} was {draw.choice(GOOD if good else BAD)}. {draw.choice(MORE)}"
    return {"query": f'"{said}" Is this positive or negative?', "answer": "positive" if good else "negative"}


SETS = {"sums": a_sum, "feelings": a_feeling}


def distinct(make: str, count: int, draw: random.Random) -> list[Row]:
    """So many questions of a set, none twice.

    Raises:
        ValueError: there are not so many.
    """
    found: dict[str, Row] = {}
    for _ in range(50 * count):
        row = SETS[make](draw)
        found.setdefault(row["query"], row)
        if len(found) == count:
            return list(found.values())
    raise ValueError(f"questions: there are no {count} different {make}; {len(found)} were found")


def run(work: "Work[Questions]") -> None:
    """The whole stage."""
    params = work.section
    for name in SETS:
        rows = distinct(name, params.asked + params.examples, random.Random(f"{work.seed} {name}"))
        for part, own in (("test", rows[: params.asked]), ("examples", rows[params.asked :])):
            path = work.path(f"items/{name}/{part}.jsonl")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(json.dumps(row) + "\n" for row in own))
        work.metrics[name] = {"asked": params.asked, "examples": params.examples}


STAGE = Stage(Questions, run, reads={}, makes={"items": Kind.ITEMS}, shared={"seed": Seed})
