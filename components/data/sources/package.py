"""Conversations shipped inside an installed Python package."""

import importlib.metadata
import importlib.util
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from components.data.sources.source import Source, SourceError
from components.sections.base import section

if TYPE_CHECKING:
    from components.data.sources.source import Rows


@section
class PackageSource(Source):
    """Human conversations of the BYU Chit-Chat Challenge (MIT licence); sender ids and times are left out."""

    kind: Literal["package"]
    name: Literal["chitchat-dataset"]
    version: str

    def read(self, downloads: Path) -> "Rows":
        from components.data.rows import RawRecord

        conversations = json.loads((self._folder() / "dataset.json").read_text(encoding="utf-8"))
        for name in sorted(conversations):
            turns = [" ".join(part["text"] for part in turn) for turn in conversations[name]["messages"]]
            turns = [turn for turn in turns if turn.strip()]
            ratings = {key: int(value) for key, value in conversations[name].get("ratings", {}).items()}
            named, origin = {"id": name, "group": name}, f"{self.name}:{name}"
            if len(turns) >= 2:
                yield RawRecord("demonstrations", origin, named | {"messages": _alternate(turns), "ratings": ratings})
            elif turns:
                yield RawRecord("documents", origin, named | {"text": turns[0]})

    def digest(self) -> str:
        return f"version:{self.version}"

    def _folder(self) -> Path:
        spec = importlib.util.find_spec("chitchat_dataset")
        if spec is None or spec.origin is None:
            raise SourceError(f"the package {self.name} is not installed: pip install {self.name}=={self.version}")
        installed = importlib.metadata.version(self.name)
        if installed != self.version:
            raise SourceError(f"{self.name} is {installed}, ingest.source.version asks for {self.version}")
        return Path(spec.origin).parent


def _alternate(turns: Iterable[str]) -> list[dict[str, str]]:
    """Whoever opens the conversation is the user; whoever answers is the assistant."""
    return [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)]


SECTION = PackageSource
