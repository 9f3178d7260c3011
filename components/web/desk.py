"""Where what people say is kept, and which weights they say it of."""

import hashlib
from functools import cached_property, lru_cache
from pathlib import Path

from components.data.digests import file_md5
from components.labeling.answers import Source
from components.labeling.journal import PATH, Journal
from components.losses.sampling import Sampling
from components.mlflow_store import download_model
from components.provenance import weights_sha256
from components.web.errors import ApiError

PAGES = Path(__file__).parent / "pages"


class Desk:
    """The journal of a file, opened when it is first needed: a server that nobody tells anything makes none."""

    def __init__(self, path: Path = PATH) -> None:
        self._path = path

    @cached_property
    def journal(self) -> Journal:
        """Tasks, answers, thumbs, votes."""
        return Journal(self._path)

    @cached_property
    def page_version(self) -> str:
        """What tells these pages from other ones; kept with each answer."""
        digest = hashlib.md5(usedforsecurity=False)
        for path in sorted(PAGES.iterdir()):
            digest.update(path.read_bytes())
        return digest.hexdigest()[:8]

    def close(self) -> None:
        """Let go of the file."""
        if "journal" in vars(self):
            self.journal.close()


def source_of(version: str, sampling: Sampling, seed: int) -> Source:
    """Who wrote a reply, and how it was sampled; `version` is one such as `gpt-ppo/3`.

    Raises:
        ApiError: 400, its files cannot be had.
    """
    found = _digests(version)
    if found is None:
        raise ApiError(400, f"there is no {version}", param="model", code="model_not_found")
    weights, tokenizer = found
    return Source(
        model=version, weights_sha256=weights, tokenizer_md5=tokenizer, seed=seed,
        temperature=float(sampling.temperature), top_k=sampling.top_k, top_p=float(sampling.top_p),
    )  # fmt: skip


@lru_cache(maxsize=256)  # a version never changes
def _digests(version: str) -> tuple[str, str] | None:
    folder = download_model(f"models:/{version}")
    return (weights_sha256(folder), file_md5(folder / "tokenizer.json")) if folder else None
