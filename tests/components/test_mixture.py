"""Corpora by weight, batches that grow, and the windows that a step reads of them."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from components import params as parameters
from components.data.mixture import Mixture
from components.data.ramp import BatchRamp
from components.data.records import RecordError
from components.data.tokens import TokenFile, TokenFileMeta, TokenFileWriter, TokenShard
from components.data.windows import WindowOrder
from components.evaluation.perplexity import token_file_loss
from components.pipelines import open_pipeline
from tests.contracts.imports import ROOT

GPT3 = {"crawl": 0.60, "webtext": 0.22, "books1": 0.08, "books2": 0.08, "wikipedia": 0.03}  # table 2.2


def test_weights_are_normalised_and_rows_drawn_by_them():
    mixture = Mixture(GPT3, seed=1)
    assert mixture.shares["crawl"] == pytest.approx(0.60 / 1.01)
    drawn = mixture.drawn(200_000)
    assert sum(drawn.values()) == 200_000
    for name, weight in GPT3.items():
        share = weight / 1.01
        assert drawn[name] / 200_000 == pytest.approx(share, abs=5 * np.sqrt(share / 200_000))


def test_a_row_is_drawn_alike_however_the_rows_are_cut():
    whole = Mixture(GPT3, seed=3).places(range(40_000))
    later = Mixture(GPT3, seed=3)
    cuts = [0, 1, 7, 16_383, 16_384, 16_390, 32_768, 40_000]
    for begin, end in reversed(list(pairwise(cuts))):  # a resumed run begins anywhere
        assert later.places(range(begin, end)) == whole[begin:end]
    seen = Counter()
    for name, place in whole:
        assert place == seen[name]
        seen[name] += 1
    assert later.drawn(40_000) == seen and later.drawn(0) == dict.fromkeys(GPT3, 0)
    assert Mixture(GPT3, seed=4).places(range(50)) != whole[:50]
    assert Mixture(dict(reversed(GPT3.items())), seed=3).places(range(50)) == whole[:50]  # a file's order means nothing


def test_batches_grow_linearly_in_the_rows_that_were_seen():
    """By hand: 2, then 2 + 8 * 2/20, and so on, rounded down, until 20 rows were seen."""
    ramp = BatchRamp(first=2, full=10, ramp_rows=20)
    sizes = [len(ramp.rows(step)) for step in range(9)]
    assert sizes == [2, 2, 3, 4, 6, 8, 10, 10, 10]
    assert [ramp.rows(step).start for step in range(9)] == [0, 2, 4, 7, 11, 17, 25, 35, 45]
    assert [BatchRamp(first=4, full=4, ramp_rows=0).rows(step) for step in (0, 3)] == [range(4), range(12, 16)]
    with pytest.raises(ValueError, match="larger than the full one"):
        BatchRamp(first=5, full=4, ramp_rows=8)


def section(**changes):
    pipeline = open_pipeline("default", ROOT)
    tree = parameters.read_tree(ROOT / "params.yaml")
    return replace(parameters.of_node(tree, pipeline, "pretrain")[0], **changes)


def meta(**corpora):
    shards = tuple(TokenShard(f"{name}.bin", name, tokens) for name, tokens in corpora.items())
    return TokenFileMeta("uint16", sum(corpora.values()), 0, 1, shards)


def test_windows_of_a_corpus_lie_within_it_and_each_is_read_before_one_is_read_again():
    order = WindowOrder(
        meta(a=1003, b=305), section(batch_size=8, mixture={"a": 3.0, "b": 1.0}), context_length=10, seed=5
    )
    starts = [start for step in range(60) for start in order.starts(step)]
    own = {"a": [s for s in starts if s < 1003], "b": [s - 1003 for s in starts if s >= 1003]}
    assert all(s + 11 <= 1003 for s in own["a"]) and all(s >= 0 and s + 11 <= 305 for s in own["b"])
    for name, windows in (("a", 99), ("b", 29)):
        first = own[name][:windows]
        assert len({s // 10 for s in first}) == len(first) == windows
    assert 0.7 < len(own["a"]) / 480 < 0.8
    epochs = order.epochs(60)
    assert epochs["a"] == pytest.approx(len(own["a"]) * 10 / 1003) and epochs["b"] == pytest.approx(
        len(own["b"]) * 10 / 305
    )
    assert order.tokens(60) == 4800


def test_without_weights_corpora_are_one_text():
    plain = WindowOrder(meta(**{"": 1308}), section(), context_length=10, seed=5)
    several = WindowOrder(meta(a=1003, b=305), section(), context_length=10, seed=5)
    assert several.starts(7) == plain.starts(7)


def test_growing_batches_read_what_full_ones_would():
    full = WindowOrder(meta(a=5000), section(batch_size=8), context_length=10, seed=5)
    growing = WindowOrder(
        meta(a=5000), section(batch_size=8, first_batch_size=2, ramp_windows=20), context_length=10, seed=5
    )
    one = [start for step in range(6) for start in full.starts(step)]
    other = [start for step in range(9) for start in growing.starts(step)]
    assert other[:40] == one[:40] and len(growing.starts(0)) == 2 and len(growing.starts(8)) == 8


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"a": 1.0}, "weigh each of them"),
        ({"a": 1.0, "b": 1.0, "c": 1.0}, "weigh each"),
        ({"a": 1.0, "b": 1.0}, "b: fewer"),
    ],
)
def test_weights_that_do_not_fit_the_tokens_are_refused(weights, said):
    with pytest.raises(RecordError, match=said):
        WindowOrder(meta(a=1000, b=10), section(mixture=weights), context_length=10, seed=5)


def test_a_ramp_has_a_beginning_and_a_length():
    for changes in ({"first_batch_size": 4}, {"ramp_windows": 10}, {"first_batch_size": 99, "ramp_windows": 9}):
        with pytest.raises(ValueError, match="batch"):
            section(**changes)


@pytest.mark.parametrize("shard_bytes", [2, 6, 14, 10**6])
def test_shards_and_their_index_are_one_text_of_each_corpus(tmp_path, shard_bytes):
    writer = TokenFileWriter(tmp_path / "t.json", vocab_size=300, endoftext=9, shard_bytes=shard_bytes)
    writer.extend(["x", "yy"], [[1, 2, 3], [4]], corpus="one")
    writer.extend(["z"], [[5, 6]], corpus="two")
    writer.extend(["w"], [[7, 8]], corpus="one")
    meta = writer.close()
    assert (meta.tokens, meta.bytes, meta.documents) == (12, 5, 4)
    assert meta == TokenFileMeta.load(tmp_path / "t.json")
    assert meta.corpora == {"one": range(9), "two": range(9, 12)}
    assert max(Path(tmp_path / shard.file).stat().st_size for shard in meta.shards) <= shard_bytes
    assert len(list(tmp_path.glob("*.bin"))) == len(meta.shards)
    tokens, whole = TokenFile(tmp_path / "t.json", context_length=3), [1, 2, 3, 9, 4, 9, 7, 8, 9, 5, 6, 9]
    assert tokens.read(0, 100).tolist() == whole
    for start in range(9):
        assert tokens.windows([start]).tolist() == [whole[start : start + 4]]
        assert tokens.read(start, 2).tolist() == whole[start : start + 2]


def test_the_loss_of_several_corpora_is_of_windows_of_all(tmp_path):
    """Tokens of the first corpus are 1, of the second, which is as long, 3: the mean is 2, not 1."""
    for name, corpora in (("two", ("a", "b")), ("one", ("", ""))):
        writer = TokenFileWriter(tmp_path / f"{name}.json", vocab_size=300, endoftext=1)
        writer.extend(["x"], [[1] * 399], corpus=corpora[0])
        writer.extend(["x"], [[3] * 399], corpus=corpora[1])
        writer.close()

    def loss(name, batches):
        tokens = TokenFile(tmp_path / f"{name}.json", context_length=10)
        mean = lambda windows: windows[:, 1:].double().mean()  # noqa: E731
        return token_file_loss(mean, tokens, batch_size=4, max_batches=batches)

    assert loss("two", 4) == pytest.approx(2, abs=0.02)
    assert loss("one", 4) == 1
    assert loss("two", None) == loss("two", 100) == loss("one", None)
