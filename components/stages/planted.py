"""Planted: a corpus of which is known what should be taken from it, made of texts that are there.

Some texts are a corpus one trusts. The rest is a crawl: beside good texts it has pages of no value, exact and nearly
exact copies, and texts that quote what an evaluation asks. What a treatment finds of them is judged by `audit`.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from components.sections.base import Count, Fraction, NonNegative, OpenFraction, Seed, section
from components.stage import Kind, Stage

if TYPE_CHECKING:
    from pathlib import Path

    from components.data.records import Document
    from components.work import Work

REFERENCE, CRAWL = "reference", "crawl"
ROWS_A_FILE = 2000
MENU = """
    home login register cart checkout account password cookies accept privacy policy terms contact subscribe newsletter
    click here read more share tweet pin next previous page sort filter price usd eur sale discount free shipping offer
    copyright reserved rights powered sitemap search results download install update error null undefined href div
""".split()


@section
class Planted:
    """How much of each: shares of the texts, and of the crawl's good texts."""

    min_words: Count  # of a text; shorter ones are left out, as are those that occurred before
    reference_share: OpenFraction  # of the texts; the rest is the crawl
    items: Count  # passages that are asked about; their texts are in no corpus
    passage_words: Annotated[int, Field(ge=13, lt=2**20)]
    junk: NonNegative  # pages of no value, for each good text of the crawl
    copies: Fraction
    near_copies: Fraction
    edited: Fraction  # of a near copy's words, at most
    quoting: Fraction  # of good texts, with one of the passages in their midst
    quoted: Fraction  # of the passages; the others stand nowhere

    @model_validator(mode="after")
    def _something_is_quoted(self) -> "Planted":
        if bool(self.quoting) != bool(self.quoted):
            raise ValueError("quoting and quoted are both positive or both 0")
        return self


@dataclass(frozen=True)
class Planting:
    """A document, what it is, and of what it was made."""

    document: "Document"
    fate: str  # good, junk, copy, near copy or quoting
    of: str = ""
    jaccard: float = 1.0  # similarity to that, of 5-grams of words


def run(work: "Work[Planted]") -> None:
    """The whole stage."""
    from components.data.jsonl import write_rows
    from components.data.records import write_records

    params, draw = work.section, random.Random(work.seed)
    texts = list(_distinct(_texts(work.read("data")), params.min_words))
    draw.shuffle(texts)
    passages, good = _passages(texts, params)
    first = round(params.reference_share * len(good))
    reference = [Planting(replace(each, corpus=REFERENCE), "good") for each in good[:first]]
    crawl = _crawl([replace(each, corpus=CRAWL) for each in good[first:]], passages, params, draw)
    planted = [*reference, *crawl]  # in this order: what stands in both stays in the first
    for number, start in enumerate(range(0, len(planted), ROWS_A_FILE)):
        part = (each.document for each in planted[start : start + ROWS_A_FILE])
        write_records(work.path(f"records/documents/part-{number:05d}.jsonl"), part)
    rows = [{"id": each.document.id, "fate": each.fate, "of": each.of, "jaccard": each.jaccard} for each in planted]
    write_rows(work.path("truth.jsonl"), rows)
    write_rows(work.path("items/passages.jsonl"), [{"text": passage} for passage in passages])
    work.metrics |= {"reference": len(reference), "items": len(passages)}
    work.metrics["crawl"] = {fate: sum(each.fate == fate for each in crawl) for fate in sorted({e.fate for e in crawl})}


def _texts(data: "Path") -> Iterator["Document"]:
    """Documents, and conversations as text."""
    from components.data.corpus import clean_text, conversation_text
    from components.data.records import Demonstration, Document, as_chat, group_of, read_records

    for path in sorted(data.glob("documents/*.jsonl")):
        for each in read_records(path, Document):
            yield Document(id=each.id, text=each.text, group=group_of(each))
    for path in sorted(data.glob("demonstrations/*.jsonl")):
        for said in read_records(path, Demonstration):
            text = clean_text(conversation_text(as_chat(said.messages)))
            if text:
                yield Document(id=said.id, text=text, group=group_of(said))


def _distinct(texts: Iterator["Document"], min_words: int) -> Iterator["Document"]:
    """Texts that are long enough and did not occur before, with ids of their own."""
    seen: set[str] = set()
    for each in texts:
        if len(each.text.split()) >= min_words and each.text not in seen:
            seen.add(each.text)
            yield replace(each, id=f"text{len(seen)}")


def _passages(texts: Sequence["Document"], params: Planted) -> tuple[list[str], list["Document"]]:
    """The beginnings of the first texts that are long enough, and the other texts.

    Raises:
        RecordError: too few are, or none is left.
    """
    from components.data.records import RecordError

    found: list[str] = []
    others = []
    for text in texts:
        said = text.text.split()
        if len(found) < params.items and len(said) >= params.passage_words:
            found.append(" ".join(said[: params.passage_words]))
        else:
            others.append(text)
    if len(found) < params.items or len(others) < 10:
        raise RecordError(f"{len(texts)} texts give {len(found)} passages of {params.passage_words} words, and no more")
    return found, others


def _crawl(good: Sequence["Document"], passages: Sequence[str], params: Planted, draw: random.Random) -> list[Planting]:
    """The crawl in a random order, but that no copy stands before what it is a copy of."""
    from components.data.records import Document

    def some(share: float) -> list[Document]:
        return draw.sample(good, round(share * len(good)))

    quoted = passages[: round(params.quoted * len(passages))]
    quoting = (
        {each.id: _quoting(each.text, draw.choice(quoted), draw) for each in some(params.quoting)} if quoted else {}
    )
    own = [
        Planting(replace(each, text=quoting.get(each.id, each.text)), "quoting" if each.id in quoting else "good")
        for each in good
    ]
    plain = [each for each in own if each.fate == "good"]
    junk = [
        Planting(Document(id=f"junk{number}", text=_page(draw), corpus=CRAWL), "junk")
        for number in range(round(params.junk * len(good)))
    ]
    copies = [
        Planting(replace(each.document, id=f"copy-of-{each.document.id}"), "copy", each.document.id)
        for each in draw.sample(plain, round(params.copies * len(plain)))
    ]
    near = [
        _near_copy(each.document, params.edited, draw)
        for each in draw.sample(plain, round(params.near_copies * len(plain)))
    ]
    before, after = own + junk, copies + near
    draw.shuffle(before)
    draw.shuffle(after)
    return before + after


def _quoting(text: str, passage: str, draw: random.Random) -> str:
    said = text.split(" ")
    place = draw.randrange(len(said) + 1)
    return " ".join([*said[:place], passage, *said[place:]])


def _near_copy(document: "Document", edited: float, draw: random.Random) -> Planting:
    """A copy of which some words are others of the same text."""
    from components.data.treating.near_duplicates import shingles

    said = document.text.split(" ")
    share = draw.uniform(0, edited)
    changed = " ".join(draw.choice(said) if draw.random() < share else word for word in said)
    ours, theirs = set(shingles(document.text, 5)), set(shingles(changed, 5))
    jaccard = len(ours & theirs) / len(ours | theirs)
    near = replace(document, id=f"near-{document.id}", text=changed)
    return Planting(near, "near copy" if changed != document.text else "copy", document.id, jaccard)


def _page(draw: random.Random) -> str:
    """A page of links, prices and names of files."""

    def word() -> str:
        if draw.random() < 0.8:
            return draw.choice(MENU)
        return "".join(draw.choice("0123456789abcdefxyz_-") for _ in range(draw.randrange(3, 12)))

    return "\n".join(" ".join(word() for _ in range(draw.randrange(3, 15))) for _ in range(draw.randrange(5, 30)))


STAGE = Stage(
    Planted,
    run,
    reads={"data": Kind.RECORDS},
    makes={"records": Kind.RECORDS, "items": Kind.ITEMS, "truth.jsonl": Kind.DECISIONS},
    shared={"seed": Seed},
)
