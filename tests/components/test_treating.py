"""Steps of a treatment: documents that stand there twice, or nearly twice, or are of little value."""

import hashlib
import random

import networkx
import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import HashingVectorizer

from components.data.records import RecordError
from components.data.treating import quality
from components.data.treating.documents import dropped
from components.data.treating.near_duplicates import joined, shingles, signatures
from components.data.treating.quality import is_kept
from components.data.treatments.exact_duplicates import ExactDuplicates
from components.data.treatments.near_duplicates import NearDuplicates
from components.data.treatments.quality import Quality
from tests.components.treated import WORDS, left, prose, shards_of, treating


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


@pytest.mark.parametrize("cuts", [(80,), (1, 30, 79), (10, 10, 11)])
def test_a_sample_is_the_documents_of_the_lowest_hashes_however_the_data_are_cut(tmp_path, monkeypatch, cuts):
    draw, learnt = random.Random(11), []
    rows = [(f"d{n}", "books" if n % 3 else "crawl", prose(draw, 5)) for n in range(80)] + [("o", "other", "text")]
    monkeypatch.setattr(quality, "_learn", lambda *sample: learnt.append(sample) or {})
    monkeypatch.setattr(quality, "_keep", lambda *_: None)
    step = Quality(kind="quality", reference=("books",), corpora=("crawl",), sample=7)
    parts = [rows[start:end] for start, end in zip((0, *cuts), (*cuts, len(rows)), strict=True)]
    with pytest.raises(FileNotFoundError):  # nothing is judged here
        step.apply(shards_of(tmp_path, *parts), treating(tmp_path / "step"))

    def coin(row):
        return hashlib.sha256(f"sample:{row[0]}:{row[2]}".encode()).digest()[:8]

    lowest = [sorted((row for row in rows if row[1] == name), key=coin)[:7] for name in ("books", "crawl")]
    expected = sorted((row for own in lowest for row in own), key=coin)
    ((features, good, _),) = learnt
    said = HashingVectorizer(tokenizer=str.split, token_pattern=None, alternate_sign=False, n_features=quality.FEATURES)
    assert np.array_equal(features.toarray(), said.transform([text for _, _, text in expected]).toarray())
    assert good.tolist() == [corpus == "books" for _, corpus, _ in expected]


def test_a_filter_without_one_of_the_two_kinds_is_refused(tmp_path):
    step = Quality(kind="quality", reference=("books",), corpora=("crawl",))
    with pytest.raises(RecordError, match="one has none"):
        step.apply(shards_of(tmp_path, [("a", "books", "text"), ("b", "books", "texts")]), treating(tmp_path / "step"))
    with pytest.raises(ValueError, match="books stands under reference and under corpora"):
        Quality(kind="quality", reference=("books",), corpora=("crawl", "books"))


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


def test_words_are_hashed_to_the_columns_that_scikit_learn_gives_them(monkeypatch):
    draw = random.Random(5)
    texts = ["", "A a A b", "Straße  É \t\n x\u00a0y 1,000.5 don't", *(prose(draw, 300) for _ in range(30))]
    theirs = HashingVectorizer(
        n_features=quality.FEATURES, alternate_sign=False, tokenizer=str.split, token_pattern=None
    ).transform(texts)
    monkeypatch.setattr(quality, "REMEMBERED", 50)  # and some are forgotten on the way
    for _ in range(2):
        ours = quality.hashed(texts)
        assert ours.shape == theirs.shape and abs(ours - theirs).max() < 1e-15
        assert ours.nnz == theirs.nnz > 1000
