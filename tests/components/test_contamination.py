"""What evaluations ask, taken out of documents: where it stands, what goes with it, which items are clean."""

import json
import random

import pytest

from components.data.records import RecordError
from components.data.treating.documents import dropped
from components.data.treating.overlaps import Grams, item_texts, study_length, without, words
from components.data.treatments.contamination import Against, Contamination
from components.data.treatments.quality import Quality
from tests.components.treated import WORDS, left, prose, shards_of, treating


def by_hand(text, sought, n):
    """Characters of each n-gram of `text` that is sought, by trying every place."""
    places, begin = [], 0
    for word in text.split(" "):
        places.append((word, begin, begin + len(word)))
        begin += len(word) + 1
    said = [(word.lower().strip(".,!"), start, end) for word, start, end in places]
    said = [each for each in said if each[0]]
    grams = (said[place : place + n] for place in range(len(said) - n + 1))
    return [(gram[0][1], gram[-1][2]) for gram in grams if tuple(word for word, _, _ in gram) in sought]


@pytest.mark.parametrize("n", [1, 2, 3, 13])
def test_ngrams_are_found_where_they_stand(n):
    draw = random.Random(n)
    few = ["a", "b,", "C", "d.", "!", "e"]
    for _ in range(30):
        asked = " ".join(draw.choice(few) for _ in range(20))
        text = " ".join(draw.choice(few) for _ in range(200)) + " " + asked
        plain = [word.lower().strip(".,!") for word in asked.split() if word.strip(".,!")]
        sought = {tuple(plain[place : place + n]) for place in range(len(plain) - n + 1)}
        grams = Grams([asked], n)
        assert len(grams.numbers) == len(sought)
        assert [(span.start, span.end) for span in grams.spans(text)] == by_hand(text, sought, n)


@pytest.mark.parametrize("more", ["", " \u00e9t\u00e9"])  # a text of ASCII alone is taken apart by another way
def test_words_are_letters_and_digits(more):
    text = "It's  a_b, C-d!\n9.5\t-- (E)\x1fx\x00y" + more
    assert words(text) == ["its", "ab", "cd", "95", "e", "xy", *more.split()]


def test_every_character_of_ascii_is_what_it_is_beside_others():
    text = " ".join(f"a{chr(number)}b" for number in range(128))
    assert words(text + " \u00e9") == [*words(text), "\u00e9"]


def test_what_is_cut_takes_its_neighbourhood_with_it():
    text = "0123456789" * 10
    assert without(text, [(40, 50)], margin=5) == [text[:35], text[55:]]
    assert without(text, [(40, 50), (52, 60)], margin=5) == [text[:35], text[65:]]
    assert without(text, [(0, 3), (98, 100)], margin=50) == []
    assert without(text, [], margin=5) == [text]


@pytest.mark.parametrize(
    ("counts", "n"), [([5] * 100, 8), ([9] * 6 + [30] * 94, 9), ([9] * 5 + [11] * 95, 11), ([40] * 9, 13)]
)
def test_examples_are_judged_by_ngrams_of_their_own_length(counts, n):
    """The 5th percentile of their words, from 8 to 13 (Brown et al. 2020, appendix C)."""
    assert study_length([" ".join(WORDS[:count]) for count in counts]) == n


def items(path, *texts):
    path.write_text(
        "".join(
            json.dumps({"query": text, "id": "same words in every id of all of these items here"}) + "\n"
            for text in texts
        )
    )
    return Against(name=path.stem, file=str(path))


def test_each_file_is_judged_by_ngrams_of_its_own_length(tmp_path):
    draw = random.Random(7)
    long, short, other = prose(draw, 30), prose(draw, 9), prose(draw, 9)
    quoted = " ".join(long.split()[3:14])  # 11 words: no 13-gram
    rows = [
        ("a", f"{prose(draw, 30)} {quoted} {prose(draw, 30)}"),
        ("b", f"{prose(draw, 30)} {short} {prose(draw, 30)}"),
    ]
    against = items(tmp_path / "long.jsonl", long), items(tmp_path / "short.jsonl", short, other, quoted)
    around = treating(tmp_path / "step")
    assert list(left(contamination(*against).apply(shards_of(tmp_path, rows), around))) == ["a", "b"]
    found = {name: (own["n"], own["dirty"]) for name, own in around.figures["items"].items()}
    assert found == {"long": (13, 0), "short": (9, pytest.approx(2 / 3))}


def contamination(*against, **changes):
    fields = {"n": 13, "margin": 10, "shortest": 30, "most_pieces": 3, "common": 3} | changes
    return Contamination(kind="contamination", against=against, **fields)


def test_what_is_asked_is_cut_out_and_the_pieces_are_documents(tmp_path):
    draw = random.Random(5)
    asked, not_asked, common = prose(draw, 20), prose(draw, 20), prose(draw, 20)
    before, after = prose(draw, 40), prose(draw, 40)
    rows = [("plain", before), ("quotes", f"{before} {asked.upper()}! {after}"), ("short", f"few {asked} words"),
            ("throughout", " ".join(f"{prose(draw, 20)} {asked}" for _ in range(5)))]  # fmt: skip
    often = [(f"common{n}", f"{common} {prose(draw, 30)}") for n in range(4)]
    against = items(tmp_path / "set.jsonl", asked, not_asked, common)
    around = treating(tmp_path / "step")
    found = contamination(against).apply(shards_of(tmp_path, rows, often), around)
    there = left(found)
    assert list(there) == ["plain", "quotes-1", "quotes-2", "common0", "common1", "common2", "common3"]
    assert (
        there["quotes-1"] == before[: len(before) - 9].strip()
    )  # 10 characters, the blank before the quotation included
    assert there["quotes-2"] == after[9:]  # and the blank after it
    assert dict(dropped(found[0])[["id", "why"]].values.tolist()) == {
        "quotes": "contaminated, cut", "short": "contaminated", "throughout": "contaminated throughout"}  # fmt: skip
    assert around.figures["items"]["set"] == {
        "items": 3,
        "n": 13,
        "dirty": pytest.approx(2 / 3),
        "too_short": 0,
    }  # common ones are dirty, too
    clean = [json.loads(line)["query"] for line in (tmp_path / "step/items/clean/set.jsonl").read_text().splitlines()]
    assert clean == [not_asked]
    assert len((tmp_path / "step/items/all/set.jsonl").read_text().splitlines()) == 3


def test_two_files_are_judged_each_by_itself(tmp_path):
    draw = random.Random(6)
    one, two = prose(draw, 30), prose(draw, 9)
    around = treating(tmp_path / "step")
    against = items(tmp_path / "cut.jsonl", one), items(tmp_path / "short.jsonl", two)
    found = contamination(*against).apply(shards_of(tmp_path, [("a", f"{two} {prose(draw, 60)}")]), around)
    assert list(left(found)) == ["a"]  # nine words are no 13-gram: nothing is cut, and yet the item is dirty
    figures = around.figures["items"]
    assert (figures["cut"]["dirty"], figures["short"]["dirty"], figures["short"]["n"]) == (0, 1, 9)


def test_items_that_cannot_be_read_are_named(tmp_path):
    path = tmp_path / "items.jsonl"
    path.write_text('{"query": "a"}\n[1]\n')
    with pytest.raises(RecordError, match=r"items\.jsonl:2: an item is a JSON object"):
        item_texts(path)
    path.write_text('{"query": "a", "choices": ["b", {"text": "c"}], "id": "d", "gold": 3}')
    assert item_texts(path) == [(path.read_text(), "a b c")]
    path.write_text("\n")
    with pytest.raises(RecordError, match="holds no item"):
        item_texts(path)
    path.write_bytes(b'{"query": "caf\xe9"}')
    with pytest.raises(RecordError, match=r"items\.jsonl: not UTF-8"):
        item_texts(path)
    path.write_bytes(b'\xef\xbb\xbf{"query": "one\xe2\x80\xa8two"}\n\n{"query": "e\xcc\x81"}\n')
    # A mark at the beginning, a line separator within a text, a blank line, an accent apart from its letter.
    assert [text for _, text in item_texts(path)] == ["one\ntwo", "\u00e9"]


def test_of_items_that_are_too_short_nothing_is_told(tmp_path):
    around = treating(tmp_path / "step")
    asked = prose(random.Random(7), 20)
    against = items(tmp_path / "set.jsonl", "what is it", asked)
    contamination(against).apply(shards_of(tmp_path, [("a", "what is it and why")]), around)
    assert around.figures["items"]["set"] == {"items": 2, "n": 8, "dirty": 0, "too_short": 1}
    assert len((tmp_path / "step/items/clean/set.jsonl").read_text().splitlines()) == 1


def test_a_document_in_many_pieces_goes_however_short_they_are(tmp_path):
    draw = random.Random(8)
    asked = prose(draw, 13)
    often = " ".join(f"{asked} {prose(draw, 4)}" for _ in range(12)) + " " + prose(draw, 60)
    found = contamination(items(tmp_path / "set.jsonl", asked), margin=2, most_pieces=10).apply(
        shards_of(tmp_path, [("a", often), ("b", "other")]), treating(tmp_path / "step")
    )
    assert list(left(found)) == ["b"] and dropped(found[0])["why"].tolist() == ["contaminated throughout"]


def test_two_files_of_one_name_are_refused():
    with pytest.raises(ValueError, match="x stands there twice"):
        contamination(Against(name="x", file="a"), Against(name="x", file="b"))


@pytest.mark.parametrize("empty", [0, 1])
def test_a_shard_without_a_document_is_searched_and_judged_too(tmp_path, empty):
    draw = random.Random(10)
    asked = prose(draw, 20)
    corpora = {"b": "books", "c": "crawl", "d": "books", "f": "books", "g": "crawl"}
    rows = [("a", "crawl", f"{prose(draw, 40)} {asked}")]
    parts = [[*rows, *((name, corpus, prose(draw, 30)) for name, corpus in corpora.items())]]
    parts.insert(empty, [("e", "crawl", " ")])
    shards = shards_of(tmp_path, *parts)
    found = contamination(items(tmp_path / "set.jsonl", asked)).apply(shards, treating(tmp_path / "step"))
    assert list(left(found)) == ["a", "b", "c", "d", "f", "g"]
    step = Quality(kind="quality", reference=("books",), corpora=("crawl",), alpha=0.001)
    assert set(left(step.apply(found, treating(tmp_path / "two")))) == set("abcdfg")
