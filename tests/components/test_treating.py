"""Steps of a treatment: documents that stand there twice, nearly twice, are of little value, or are asked about."""

import json
import random

import networkx
import numpy as np
import pandas as pd
import pytest

from components.data.records import RecordError
from components.data.treating.documents import dropped
from components.data.treating.near_duplicates import joined, shingles, signatures
from components.data.treating.overlaps import Grams, item_texts, study_length, without
from components.data.treating.quality import is_kept
from components.data.treatments.contamination import Against, Contamination
from components.data.treatments.exact_duplicates import ExactDuplicates
from components.data.treatments.near_duplicates import NearDuplicates
from components.data.treatments.quality import Quality
from tests.components.treated import left, shards_of, treating

WORDS = [f"w{number}" for number in range(4000)]


def prose(draw, count):
    return " ".join(draw.choice(WORDS) for _ in range(count))


def test_of_equal_texts_the_first_stays_wherever_the_others_stand(tmp_path):
    shards = shards_of(
        tmp_path, [("a", "one text"), ("b", "another")], [("c", "One text"), ("d", "one  text\n"), ("e", " ")]
    )
    around = treating(tmp_path / "step")
    found = ExactDuplicates(kind="exact_duplicates").apply(shards, around)
    assert left(found) == {"a": "one text", "b": "another", "c": "One text"}  # cleaned before, so `d` is `a`
    assert dropped(found[1])[["id", "why"]].values.tolist() == [["d", "exact duplicate"]]
    assert dropped(shards[1])[["id", "why"]].values.tolist() == [["e", "empty"]]
    assert around.figures == {"dropped": 1}


def test_signatures_agree_as_often_as_the_sets_do():
    """Of two sets a place agrees with probability J (Broder 1997): 4000 places, five standard deviations."""
    draw = random.Random(0)
    one = prose(draw, 300)
    for edits in (0, 5, 20, 60, 300):
        other = one.split()
        for place in draw.sample(range(300), edits):
            other[place] = draw.choice(WORDS)
        other = " ".join(other)
        a, b = set(shingles(one, 5)), set(shingles(other, 5))
        jaccard = len(a & b) / len(a | b)
        signed = signatures([one, other], n=5, size=4000, seed=3)
        assert (signed[0] == signed[1]).mean() == pytest.approx(jaccard, abs=5 * np.sqrt(0.25 / 4000))


def test_shingles_are_lower_case_words_and_a_short_text_is_one():
    assert shingles("The cat sat On the mat", 5) == ["the cat sat on the", "cat sat on the mat"]
    assert shingles("Two words", 5) == ["two words"]


@pytest.mark.slow
def test_pairs_are_found_as_often_as_theory_has_it_by_similarity(tmp_path):
    """1 - (1 - J^rows)^bands, within 0.03 by bins of Jaccard similarity."""
    draw, rows, pairs = random.Random(1), [], []
    for number in range(4000):
        said = prose(draw, 120).split()
        share = draw.uniform(0, 0.1)
        other = [draw.choice(WORDS) if draw.random() < share else word for word in said]
        one, two = set(shingles(" ".join(said), 5)), set(shingles(" ".join(other), 5))
        pairs.append((f"b{number}", len(one & two) / len(one | two)))
        rows += [(f"a{number}", " ".join(said)), (f"b{number}", " ".join(other))]
    shards = shards_of(tmp_path, rows[:5000], rows[5000:])
    found = NearDuplicates(kind="near_duplicates", bands=14, rows=8).apply(shards, treating(tmp_path / "step"))
    there = left(found)
    assert all(f"a{number}" in there for number in range(4000))  # nothing joins those that are not alike
    table = pd.DataFrame(pairs, columns=["id", "jaccard"])
    table["found"] = ~table["id"].isin(there.keys())
    table["theory"] = 1 - (1 - table["jaccard"] ** 8) ** 14
    bins = table.groupby(pd.cut(table["jaccard"], [0, 0.5, 0.6, 0.7, 0.8, 0.9, 1], include_lowest=True), observed=True)
    means = bins[["found", "theory"]].mean()
    assert (bins.size() > 200).all() and len(means) == 6
    assert (means["found"] - means["theory"]).abs().max() < 0.03, means


def test_what_others_join_is_one_component_and_its_first_stays():
    draw = np.random.default_rng(0)
    for size in (1, 5, 40, 200):
        pairs = draw.integers(0, 150, (size, 2)) * 7
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        frame = pd.DataFrame({"number": pairs.max(1), "first": pairs.min(1)})
        graph = networkx.Graph(pairs.tolist())
        expected = {n: min(own) for own in networkx.connected_components(graph) for n in own if n != min(own)}
        assert joined(frame).set_index("number")["first"].to_dict() == expected
    assert len(joined(pd.DataFrame({"number": [], "first": []}))) == 0


def test_of_texts_that_are_nearly_alike_the_first_stays_and_is_joined_by_what_lies_between(tmp_path):
    draw = random.Random(2)
    said = prose(draw, 200).split()
    second, third = list(said), list(said)
    second[7] = third[7] = "x"
    third[150] = "y"
    rows = (
        [("a", prose(draw, 200)), ("b", " ".join(said)), ("c", " ".join(second))],
        [("d", " ".join(third)), ("e", "e")],
    )
    found = NearDuplicates(kind="near_duplicates").apply(shards_of(tmp_path, *rows), treating(tmp_path / "step"))
    assert list(left(found)) == ["a", "b", "e"]
    assert dropped(found[0])["why"].tolist() == ["near duplicate"]


@pytest.mark.parametrize(("score", "kept"), [(1.0, 1.0), (0.9, 0.4241), (0.5, 0.0260), (0.0, 0.00195)])
def test_of_documents_with_a_score_so_many_are_kept(score, kept):
    """P = (2 - s)^-9 (Brown et al. 2020, appendix A), and the same as numpy's Pareto variable gives."""
    draws = (np.arange(200_000) + 0.5) / 200_000
    assert np.mean([is_kept(score, draw, 9.0) for draw in draws]) == pytest.approx(kept, abs=2e-4)
    drawn = np.random.default_rng(0).pareto(9, 200_000) > 1 - score
    assert drawn.mean() == pytest.approx(kept, abs=5e-3)


def test_a_filter_learns_what_is_like_the_reference_and_other_corpora_pass(tmp_path):
    good, bad = random.Random(3), random.Random(4)
    fine = [
        " ".join(good.choice("the sea was calm and ships came home slowly".split()) for _ in range(60))
        for _ in range(400)
    ]
    poor = [
        " ".join(bad.choice("click here buy cheap login cookie price".split()) for _ in range(60)) for _ in range(400)
    ]
    rows = [(f"r{n}", "books", text) for n, text in enumerate(fine[:200])]
    rows += [(f"g{n}", "crawl", text) for n, text in enumerate(fine[200:])]
    rows += [(f"b{n}", "crawl", text) for n, text in enumerate(poor)] + [("o", "other", poor[0])]
    step = Quality(kind="quality", reference=("books",), corpora=("crawl",))
    around = treating(tmp_path / "one")
    there = left(step.apply(shards_of(tmp_path, rows[:300], rows[300:]), around))
    counts = {kind: sum(name.startswith(kind) for name in there) for kind in "rgbo"}
    assert counts["r"] == 200 and counts["o"] == 1  # not judged
    # A third of the crawl is as good as books: its scores are 3/4, of which (5/4)^-9 = 13 % stay; of the others 0.2 %.
    assert 15 <= counts["g"] <= 45 and counts["b"] <= 5
    assert around.figures["corpora"]["crawl"]["kept"] == pytest.approx((counts["g"] + counts["b"]) / 600)
    again = left(
        step.apply(shards_of(tmp_path / "cut", rows[:100], rows[100:650], rows[650:]), treating(tmp_path / "two"))
    )
    assert list(again) == list(there)  # however the data are cut
    other = left(step.apply(shards_of(tmp_path / "x", rows), treating(tmp_path / "three", seed=2)))
    assert list(other) != list(there)


def test_a_filter_without_one_of_the_two_kinds_is_refused(tmp_path):
    step = Quality(kind="quality", reference=("books",), corpora=("crawl",))
    with pytest.raises(RecordError, match="one has none"):
        step.apply(shards_of(tmp_path, [("a", "books", "text"), ("b", "books", "texts")]), treating(tmp_path / "step"))
    with pytest.raises(ValueError, match="books stands under reference and under corpora"):
        Quality(kind="quality", reference=("books",), corpora=("crawl", "books"))


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
    assert item_texts(path)[0][1] == "a b c"
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


@pytest.mark.parametrize("kind", [ExactDuplicates(kind="exact_duplicates"), NearDuplicates(kind="near_duplicates")])
@pytest.mark.parametrize("empty", [0, 1, 2])
def test_a_shard_may_hold_nothing(tmp_path, kind, empty):
    parts = [[("a", "x y z")], [("b", "x y z"), ("c", "u v w")]]
    parts.insert(empty, [("e", " ")])
    shards = shards_of(tmp_path, *parts)
    (tmp_path / "documents/part-00003.jsonl").write_text("")
    assert list(left(kind.apply(shards, treating(tmp_path / "step")))) == ["a", "c"]
    assert left(kind.apply(shards[empty : empty + 1], treating(tmp_path / "none"))) == {}


def test_documents_of_one_id_are_judged_each_by_itself(tmp_path):
    draw = random.Random(9)
    rows = [(f"r{n}", "books", prose(draw, 30)) for n in range(50)]
    rows += [("1", "crawl", prose(draw, 30)) for _ in range(50)]
    step = Quality(kind="quality", reference=("books",), corpora=("crawl",), alpha=1.0)
    found = step.apply(shards_of(tmp_path, rows), treating(tmp_path / "step"))
    assert 5 < len(dropped(found[0])) < 45


def test_a_filter_of_small_alpha_keeps_nearly_all():
    assert all(is_kept(0.5, draw, 0.001) for draw in np.linspace(0.01, 0.99, 1000))


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
