"""What evaluations ask, taken out of what is trained on (Brown et al. 2020, appendix C)."""

from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.data.digests import file_md5
from components.data.joining import ROW_BITS
from components.data.treating.documents import Treating, dropped, kept, write_shard
from components.data.treating.overlaps import Grams, item_texts, study_length, without, words

if TYPE_CHECKING:
    from components.data.treatments.contamination import Contamination


Files: TypeAlias = tuple[tuple[str, str], ...]  # paths and digests: a file that changes is another
COUNTS, HIT = "counts.npz", "hit.npy"


def decontaminated(shards: list[Path], treating: Treating, params: "Contamination") -> list[Path]:
    """The shards without what stands in the items; those of which nothing was seen are written.

    Raises:
        RecordError: a file of items cannot be read; the message names the line.
    """
    files = tuple((each.file, file_md5(Path(each.file))) for each in params.against)
    sought = _sought(files, params.n)
    searched = treating.map(partial(_look, sought), shards, "seen", "shards searched")
    counts = dict(zip(sought, _total(searched), strict=True))
    treating.figures["items"] = {
        each.name: _divide(each.name, file, _dirty(file, counts, sought), treating.items)
        for each, file in zip(params.against, files, strict=True)
    }
    common = treating.folder / "common.npy"
    np.save(common, np.flatnonzero(counts[params.n] > params.common))
    treating.figures["common_ngrams"] = int((counts[params.n] > params.common).sum())
    cut = partial(_cut, params, files, common)
    left = treating.map(cut, list(zip(shards, searched, strict=True)), "kept", "shards cut")
    treating.figures |= _tell(left)
    return left


def _sought(files: Files, n: int) -> dict[int, Files]:
    """What is searched for: n-grams of these lengths of those files. First those to cut, of all."""
    sought = {n: files}
    for length in sorted({_study(file).n for file in files} - {n}):
        sought[length] = tuple(file for file in files if _study(file).n == length)
    return sought


@cache
def _grams(files: Files, n: int) -> Grams:
    """n-grams of files."""
    return Grams([text for file, _ in files for _, text in item_texts(Path(file))], n)


@cache
def _study(file: tuple[str, str]) -> Grams:
    """n-grams by which a file's items are judged."""
    texts = [text for _, text in item_texts(Path(file[0]))]
    return Grams(texts, study_length(texts))


def _look(sought: Mapping[int, Files], shard: Path, out: Path) -> None:
    """In how many of a shard's documents each n-gram stands, for each length; and in which any of the first one does.

    One search a length, whatever the number of files: what stands in several is sought once.
    """
    searches = [_grams(files, n) for n, files in sought.items()]
    counts = [np.zeros(len(grams.numbers), dtype=np.int64) for grams in searches]
    hit = []
    for row, text in enumerate(kept(shard, "text")["text"]):
        said = words(text)
        for grams, own in zip(searches, counts, strict=True):
            if found := {number for number, _ in grams.found(said)}:
                own[list(found)] += 1
                hit += [row] if grams is searches[0] else []
    np.savez(out / COUNTS, *counts)
    np.save(out / HIT, np.array(hit, dtype=np.int64))


def _total(folders: Sequence[Path]) -> list[NDArray[np.int64]]:
    """The shards' counts together."""
    total: list[NDArray[np.int64]] = []
    for folder in folders:
        with np.load(folder / COUNTS, allow_pickle=False) as stored:
            own = [stored[f"arr_{place}"] for place in range(len(stored.files))]
        total = [one + other for one, other in zip(total, own, strict=True)] if total else own
    return total


def _dirty(
    file: tuple[str, str], counts: Mapping[int, NDArray[np.int64]], sought: Mapping[int, Files]
) -> NDArray[np.bool_]:
    """Which of a file's n-grams were seen, those by which its items are judged."""
    own = _study(file)
    places = _grams(sought[own.n], own.n).numbers
    return counts[own.n][[places[gram] for gram in own.numbers]] > 0


def _divide(name: str, file: tuple[str, str], dirty: NDArray[np.bool_], folder: Path) -> dict[str, Any]:
    """Write a file's items of which no n-gram was seen; how many were, and of how many it cannot be told."""
    grams, lines = _study(file), [line for line, _ in item_texts(Path(file[0]))]
    clean = [bool(own) and not any(dirty[gram] for gram in own) for own in grams.of]
    short = sum(not own for own in grams.of)
    folder.mkdir(parents=True, exist_ok=True)
    for part, chosen in (("clean", clean), ("all", [True] * len(lines))):
        (folder / part).mkdir(exist_ok=True)
        own = (line + "\n" for line, is_in in zip(lines, chosen, strict=True) if is_in)
        (folder / part / f"{name}.jsonl").write_text("".join(own), encoding="utf-8")
    return {"items": len(lines), "n": grams.n, "dirty": 1 - (sum(clean) + short) / len(lines), "too_short": short}


def _cut(params: "Contamination", files: Files, common: Path, part: tuple[Path, Path], out: Path) -> None:
    """A shard of the documents' pieces, numbered anew: one document may become several."""
    grams, ignored = _grams(files, params.n), set(np.load(common, allow_pickle=False).tolist())
    shard, searched = part
    documents, hit = kept(shard), set(np.load(searched / HIT, allow_pickle=False).tolist())
    left = []
    for row, text in enumerate(documents["text"]):
        spans = grams.spans(text) if row in hit else []
        left.append(_left(params, text, [(s.start, s.end) for s in spans if s.gram not in ignored]))
    documents["text"], documents["why"] = [pieces for pieces, _ in left], [why for _, why in left]
    pieces = documents.explode("text").dropna(subset="text")
    place = pieces.groupby("number").cumcount()
    several = pieces.groupby("number")["number"].transform("size") > 1
    pieces["id"] = pieces["id"].where(~several, pieces["id"] + "-" + (place + 1).astype(str))
    pieces["number"] = pieces["number"] // 2**ROW_BITS * 2**ROW_BITS + np.arange(len(pieces))
    write_shard(out, pieces.drop(columns="why"), documents[documents["why"] != ""])


def _left(params: "Contamination", text: str, spans: Sequence[tuple[int, int]]) -> tuple[list[str], str]:
    """The pieces that are left of a text, and what was done; nothing is left of one that falls to many."""
    if not spans:
        return [text], ""
    pieces = without(text, spans, margin=params.margin)
    if len(pieces) > params.most_pieces:
        return [], "contaminated throughout"
    pieces = [piece for piece in pieces if len(piece) >= params.shortest]
    return pieces, "contaminated, cut" if pieces else "contaminated"


def _tell(shards: list[Path]) -> dict[str, int]:
    found = pd.concat([dropped(shard) for shard in shards])["why"].value_counts()
    return {str(why).replace(", ", "_").replace(" ", "_"): int(count) for why, count in found.items()}
