"""Ingest: bring the raw records of a source into `data/`, the same bytes on every machine.

`data/` is raw input, tracked by `data.dvc`: this is the only step that is not a stage of `dvc.yaml`.
"""

import argparse
import itertools
import json
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from components import params as parameters
from components import schema
from components.data.digests import folder_md5, recorded_md5
from components.data.records import PROBLEM_LIMIT, RecordError, reason

logger = logging.getLogger(__name__)

DATA = Path("data")
POINTER = Path("data.dvc")
SOURCE_FILE = "source.json"
RECORDS_PER_FILE = 5000


class DigestError(ValueError):
    """The folder that was built is not the version that `data.dvc` names; the message shows both digests."""


def build(params: schema.Params, folder: Path, *, downloads: Path) -> dict[str, int]:
    """Write every record of the source below folder as `<kind>/part-00000.jsonl`; counts by kind.

    The folder appears whole or not at all, with the source that it came from in `source.json`.

    Raises:
        SourceError: the source cannot be read.
        RecordError: records break their schema; all are listed, up to a limit.
    """
    from components.data.sources import SourceError  # noqa: PLC0415 (pandas: a second that unchanged data need not cost)

    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        counts = _write(params, partial, downloads)
        if not counts:
            raise SourceError("the source holds no record")
        (partial / SOURCE_FILE).write_text(_source(params))
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return counts


def _source(params: schema.Params) -> str:
    return json.dumps(vars(params.ingest.source), indent=1, sort_keys=True) + "\n"


def is_from_source(params: schema.Params, folder: Path) -> bool:
    """Whether the folder was built from the source that the parameters name."""
    path = folder / SOURCE_FILE
    return path.exists() and path.read_text() == _source(params)


def _write(params: schema.Params, folder: Path, downloads: Path) -> dict[str, int]:
    from components.data.sources import KINDS, read_source  # noqa: PLC0415 (as in build)

    adapters: dict[str, TypeAdapter[Any]] = {kind: TypeAdapter(schema) for kind, schema in KINDS.items()}
    counts: dict[str, int] = {}
    problems: list[str] = []
    for raw in read_source(params.ingest, downloads=downloads):
        line = json.dumps(raw.fields, ensure_ascii=False, sort_keys=True)
        try:
            adapters[raw.kind].validate_json(line)
        except ValidationError as error:
            problems.append(f"  {raw.origin}: {reason(error)}")
            continue
        number = counts.get(raw.kind, 0)
        path = folder / raw.kind / f"part-{number // RECORDS_PER_FILE:05d}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", newline="\n") as out:
            out.write(line + "\n")
        counts[raw.kind] = number + 1
    if problems:
        shown = "\n".join(itertools.islice(problems, PROBLEM_LIMIT))
        raise RecordError(f"{len(problems)} malformed record(s), the first {PROBLEM_LIMIT} at most:\n{shown}")
    return counts


def verify(folder: Path, pointer: Path) -> str:
    """The folder's digest, once it is known to be the one the pointer records (or there is no pointer yet).

    Raises:
        DigestError: the folder is another version.
    """
    found, recorded = folder_md5(folder), recorded_md5(pointer)
    if recorded not in (None, found):
        raise DigestError(
            f"{folder}/ has digest {found}, {pointer} records {recorded}. If the new data is meant, "
            f"accept it with `dvc add {folder}` and commit {pointer}"
        )
    return found


def main() -> None:
    """Build `data/` where it is missing or from another source, and check it against `data.dvc`."""
    argparse.ArgumentParser(
        prog="python -m components.stages.ingest", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    ).parse_args()
    logging.basicConfig(level=logging.INFO, format="[ingest] %(message)s", stream=sys.stdout)
    try:
        params = parameters.load()
        if is_from_source(params, DATA):
            logger.info("unchanged: %s", verify(DATA, POINTER))
        else:
            _build(params)
    except (parameters.ParamsError, RecordError, DigestError) as error:
        raise SystemExit(f"ingest: {error}") from None


def _build(params: schema.Params) -> None:
    from components.data.sources import SourceError  # noqa: PLC0415 (as in build)

    try:
        counts = build(params, DATA, downloads=Path(".lineage/downloads"))
    except SourceError as error:
        raise SystemExit(f"ingest: {error}") from None
    digest = verify(DATA, POINTER)
    logger.info("built %s: %s", digest, ", ".join(f"{count} {kind}" for kind, count in counts.items()))


if __name__ == "__main__":
    main()
