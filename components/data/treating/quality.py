"""Documents that read like a corpus one trusts: a classifier and a Pareto rule (Brown et al. 2020, appendix A)."""

from array import array
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize
from sklearn.utils import murmurhash3_32

from components.data.digests import hash_fraction
from components.data.records import RecordError
from components.data.treating.documents import Treating, kept, write_shard

if TYPE_CHECKING:
    from components.data.treatments.quality import Quality

DRAWS = "draws.parquet"
FEATURES = 2**18  # hashed words
REMEMBERED, SHORT = 2**20, 32  # words whose column a worker knows, some 130 MB of English; characters of one
APART = 5  # one in so many of the sample is not learnt from, and says how well the classifier tells the two kinds


def of_quality(shards: list[Path], treating: Treating, params: "Quality") -> list[Path]:
    """The shards without documents of low quality, most of them.

    Raises:
        RecordError: there is no document of one of the two kinds.
    """
    draw = partial(_draw, params.reference, params.corpora, params.sample)
    drawn = [folder / DRAWS for folder in treating.map(draw, shards, "draws", "shards sampled")]
    weights = treating.folder / "weights.npz"
    treating.figures |= _learn(*_sample(shards, drawn, params.sample), weights)
    keep = partial(_keep, weights, params.corpora, params.alpha, treating.seed)
    left = treating.map(keep, shards, "kept", "shards judged")
    judged = pd.concat([pd.read_parquet(each / "scores.parquet") for each in left]).groupby("corpus").sum()
    for name, own in judged.iterrows():
        count = own["documents"]
        treating.figures.setdefault("corpora", {})[str(name)] = {
            "kept": own["kept"] / count,
            "mean_score": own["score"] / count,
        }
    return left


def _draw(reference: tuple[str, ...], corpora: tuple[str, ...], sample: int, shard: Path, out: Path) -> None:
    documents = kept(shard, "number", "id", "corpus", "text")
    documents = documents[documents["corpus"].isin([*reference, *corpora])]
    documents = documents.assign(good=documents["corpus"].isin(reference), draw=_draws(documents, "sample"))
    _lowest(documents, sample)[["number", "id", "good", "draw"]].to_parquet(out / DRAWS, index=False)


def _sample(shards: Sequence[Path], drawn: Sequence[Path], size: int) -> tuple[csr_array, NDArray[np.bool_]]:
    """Hashed words of `size` documents of each kind, and which are good; draws are merged shard by shard, and a text is
    held no longer than until it is hashed.
    """
    chosen = pd.read_parquet(drawn[0])
    for file in drawn[1:]:
        chosen = _lowest(pd.concat([chosen, pd.read_parquet(file)]), size)
    numbers, features = list[NDArray[np.int64]](), list[csr_array]()
    for shard in shards:
        documents = kept(shard, "number", "text")
        documents = documents[documents["number"].isin(chosen["number"])]
        if len(documents):
            numbers.append(documents["number"].to_numpy())
            features.append(hashed(documents["text"].tolist()))
    places = pd.Index(chosen["number"])
    return _in_order(features, [places.get_indexer(own) for own in numbers]), chosen["good"].to_numpy(dtype=bool)


def _in_order(parts: list[csr_array], places: Sequence[NDArray[np.int64]]) -> csr_array:
    """Rows of several matrices at their places in one; what has been copied is let go."""
    ends = np.zeros(sum(map(len, places)) + 1, dtype=np.int64)
    for part, own in zip(parts, places, strict=True):
        ends[own + 1] = np.diff(part.indptr)
    ends = ends.cumsum()
    data, columns = np.empty(ends[-1]), np.empty(ends[-1], dtype=np.int32)
    for own in places:
        part = parts.pop(0)
        for row, place in enumerate(own):
            source = slice(part.indptr[row], part.indptr[row + 1])
            data[ends[place] : ends[place + 1]] = part.data[source]
            columns[ends[place] : ends[place + 1]] = part.indices[source]
    return csr_array((data, columns, ends), (len(ends) - 1, FEATURES))


def _draws(documents: pd.DataFrame, salt: str) -> list[float]:
    """A number in [0, 1) for each document, the same wherever it stands; ids alone may repeat."""
    named = zip(documents["id"], documents["text"], strict=True)
    return [hash_fraction(f"{name}:{text}", salt) for name, text in named]


def _lowest(documents: pd.DataFrame, sample: int) -> pd.DataFrame:
    """Of each of the two kinds the documents with the lowest draws: the same ones however the data are cut."""
    return documents.sort_values(["draw", "id"]).groupby("good").head(sample)


class _Columns(dict[str, int]):
    """The column of each word that was met: words repeat, and looking one up is a tenth of hashing it.

    Long ones, which seldom repeat, are not kept: in some scripts a word is all of a paragraph.
    """

    def __missing__(self, word: str) -> int:
        column = abs(murmurhash3_32(word, seed=0)) % FEATURES
        if len(word) <= SHORT:
            if len(self) >= REMEMBERED:
                self.clear()
            self[word] = column
        return column


_columns = _Columns()


def hashed(texts: Sequence[str]) -> csr_array:
    """How often each hashed word stands in N texts, [N, FEATURES], rows of length 1.

    Words are what blanks part: the tokenizer beside which GPT-3's features were hashed (Spark's).
    """
    ends, columns = np.zeros(len(texts) + 1, dtype=np.int64), array("i")
    for row, text in enumerate(texts, start=1):
        columns.extend(map(_columns.__getitem__, text.lower().split()))
        ends[row] = len(columns)
    counts = csr_array((np.ones(len(columns)), np.asarray(columns, dtype=np.int32), ends), (len(texts), FEATURES))
    counts.sum_duplicates()
    return normalize(counts, copy=False)


def _learn(features: csr_array, good: NDArray[np.bool_], path: Path) -> dict[str, Any]:
    """Write the classifier's weights; how often it tells documents that it has not seen, and their number."""
    if len(np.unique(good)) < 2:
        raise RecordError("a quality filter learns from documents of both `reference` and `corpora`: one has none")
    apart = np.arange(len(good)) % APART == 0
    if len(np.unique(good[~apart])) < 2:
        raise RecordError(f"a quality filter has {len(good)} documents to learn from: bring more")
    classifier = LogisticRegression(max_iter=1000, class_weight="balanced").fit(features[~apart], good[~apart])
    right = classifier.predict(features[apart]) == good[apart]
    np.savez(path, coefficients=classifier.coef_[0], intercept=classifier.intercept_)
    return {"sample": len(good), "held_out": int(apart.sum()), "accuracy_held_out": float(right.mean())}


@cache
def _weights(path: Path) -> Any:
    with np.load(path, allow_pickle=False) as stored:
        return stored["coefficients"], float(stored["intercept"][0])


def is_kept(score: float, draw: float, alpha: float) -> bool:
    """Whether a document with a score in [0, 1] is kept, given a draw from [0, 1).

    A Pareto variable, (1 - draw)^(-1 / alpha) - 1, must exceed 1 - score.
    """
    return bool(1 - draw <= (2 - score) ** -alpha)


def _keep(weights: Path, corpora: tuple[str, ...], alpha: float, seed: int, shard: Path, out: Path) -> None:
    documents = kept(shard)
    judged = documents[documents["corpus"].isin(corpora)]
    coefficients, intercept = _weights(weights)
    scores = expit(hashed(judged["text"].tolist()) @ coefficients + intercept) if len(judged) else []
    draws = _draws(judged, f"quality:{seed}")
    stay = [is_kept(score, draw, alpha) for score, draw in zip(scores, draws, strict=True)]
    table = pd.DataFrame({"corpus": judged["corpus"], "score": scores, "kept": stay})
    sums = table.assign(documents=1).groupby("corpus").sum().reset_index()
    sums.to_parquet(out / "scores.parquet", index=False)
    going = judged[~np.array(stay, dtype=bool)]
    why = [f"quality {score:.3f}" for score in table.loc[going.index, "score"]]
    write_shard(out, documents.drop(going.index), going.assign(why=why))
