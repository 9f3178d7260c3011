"""Several sources, and how much of each."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from components.data.digests import hash_fraction
from components.data.sources.source import Source
from components.sections.base import section
from components.sections.seam import Seam

if TYPE_CHECKING:
    from components.data.rows import RawRecord
    from components.data.sources.source import Rows

SALT = "mixture"  # no split is decided by it, so that each part of a mixture is split as it would be alone


@section
class Part:
    """One source of a mixture, the share of its groups of records that is kept, and what its documents are called.

    Corpora with names are counted apart, treated each in its way, and weighed in pretraining.
    """

    weight: Annotated[float, Field(gt=0, le=1)]
    source: Annotated[Any, Seam("components.data.sources", without="mixture")]
    corpus: str = ""


@section
class MixtureSource(Source):
    """The records of several sources, one after the other.

    Of each source the groups whose hash falls below its weight are kept: the same ones on every machine, and with a
    larger weight these and others. Rows that cannot be used are named whatever the weight.
    """

    kind: Literal["mixture"]
    parts: Annotated[tuple[Part, ...], Field(min_length=2)]

    def read(self, downloads: Path) -> "Rows":
        from components.data.rows import Malformed

        for part in self.parts:
            for record in part.source.read(downloads):
                if isinstance(record, Malformed):
                    yield record
                elif hash_fraction(_group(record), SALT) < part.weight:
                    named = part.corpus and record.kind == "documents"
                    yield replace(record, fields=record.fields | {"corpus": part.corpus}) if named else record

    def digest(self) -> str:
        """Of the weights, the names and the parts' own digests, in their order."""
        named = [(part.corpus,) if part.corpus else () for part in self.parts]
        parts = json.dumps(
            [(p.weight, p.source.kind, p.source.digest(), *name) for p, name in zip(self.parts, named, strict=True)]
        )
        return f"sha256:{hashlib.sha256(parts.encode()).hexdigest()}"

    def is_missing(self) -> bool:
        """Whether any part is a folder that is not on this machine."""
        return any(part.source.is_missing() for part in self.parts)


def _group(record: "RawRecord") -> str:
    return str(record.fields.get("group") or record.fields.get("id") or record.origin)


SECTION = MixtureSource
