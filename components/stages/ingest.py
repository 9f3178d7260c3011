"""Ingest: bring the raw records of a source into `data/`, the same bytes on every machine.

`data/` is raw input, tracked by `data.dvc`: this is the only step that is not a stage of `dvc.yaml`. It is built where
it is missing, where its source or what the source holds has changed since, and when that is forced.
"""

import argparse
import json
import logging
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Annotated, Any, Literal, NoReturn

from components import params as parameters
from components.data.digests import folder_md5, recorded_md5
from components.data.explain import explain
from components.data.records import RecordError
from components.data.rows import Malformed, as_line
from components.data.sources.source import SourceError
from components.data.tally import Tally, listed
from components.pipelines import DATA
from components.sections.base import section
from components.sections.seam import Seam

logger = logging.getLogger(__name__)

DOWNLOADS = Path(".lineage/downloads")
SOURCE_FILE = "source.json"
SKIPPED_FILE = "skipped.json"
RECORDS_PER_FILE = 5000
EXPLAINED_ROWS = 10


@section
class Ingest:
    """Where raw records come from, and what a row that cannot be used means."""

    source: Annotated[Any, Seam("components.data.sources")]
    on_bad_row: Literal["fail", "skip"]


class DigestError(ValueError):
    """The folder that was built is not the version that `data.dvc` names; the message shows both digests."""


class WriteError(ValueError):
    """Something cannot be written; the message names the file and the reason."""


def build(params: Ingest, folder: Path, *, downloads: Path) -> dict[str, int]:
    """Write every record of the source below folder as `<kind>/part-00000.jsonl`; counts by kind.

    The folder appears whole or not at all, with the source that it came from in `source.json`; until then it lies
    below `downloads`. Rows that were skipped are counted in `skipped.json`, which is there if there are any.

    Raises:
        SourceError: the source cannot be read.
        RecordError: rows cannot be used and are not to be skipped, or a file cannot be read; all are counted, and
            listed up to a limit.
        WriteError: the disk is full, or refuses.
    """
    source = _source(params)  # before it is read: what changes meanwhile is another source the next time
    partial, former = downloads / "partial", downloads / "former"
    _remove(partial, former)
    try:
        counts = _write(params, partial, downloads)
        if not counts:
            raise SourceError("the source holds no record")
        with _named(partial / SOURCE_FILE):
            (partial / SOURCE_FILE).write_text(source)
        with _named(folder):
            if folder.exists():
                shutil.move(folder, former)
            shutil.move(partial, folder)
    finally:
        _remove(partial, former)
    return counts


def _remove(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _source(params: Ingest) -> str:
    described = asdict(params.source) | {"digest": params.source.digest()}
    return json.dumps(described, indent=1, sort_keys=True) + "\n"


def is_from_source(params: Ingest, folder: Path, pointer: Path) -> bool:
    """Whether the folder was built from the source that the parameters name, as the source is now.

    A source's folder that is not on this machine is taken for unchanged: DVC brought what was made of it.
    """
    path = folder / SOURCE_FILE
    if not path.exists() or (params.on_bad_row == "fail" and (folder / SKIPPED_FILE).exists()):
        return False
    if params.source.is_missing():
        built_from: dict[str, Any] = json.loads(path.read_text())
        named: dict[str, Any] = json.loads(json.dumps(asdict(params.source)))
        return pointer.exists() and built_from.items() >= named.items()
    return path.read_text() == _source(params)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors of writing a file as a sentence with its name, which those of a full disk lack."""
    try:
        yield
    except OSError as error:
        raise WriteError(f"{path} cannot be written: {error.strerror}; the data are as they were before") from error


class _Parts:
    """The files of records: some thousands of one kind each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counts: Counter[str] = Counter()
        self._files: dict[str, IO[str]] = {}

    def write(self, kind: str, line: str) -> None:
        """Append a record to the file of its kind, or begin the next one."""
        number = self.counts[kind]
        path = self.folder / kind / f"part-{number // RECORDS_PER_FILE:05d}.jsonl"
        with _named(path):
            if number % RECORDS_PER_FILE == 0:
                if kind in self._files:
                    self._files[kind].close()
                path.parent.mkdir(parents=True, exist_ok=True)
                self._files[kind] = path.open("w", encoding="utf-8", newline="\n")
            self._files[kind].write(line + "\n")
        self.counts[kind] += 1

    def close(self) -> None:
        for file in self._files.values():
            with _named(Path(file.name)):
                file.close()


def _write(params: Ingest, folder: Path, downloads: Path) -> dict[str, int]:
    parts, tally = _Parts(folder), Tally()
    try:
        for raw in params.source.read(downloads):
            if isinstance(raw, Malformed):
                tally.refuse(raw)
                continue
            try:
                line = as_line(raw)
            except ValueError as error:
                tally.refuse(Malformed(raw.origin, str(error), raw.file, max(raw.row, 1)))
            else:
                tally.keep(raw)
                parts.write(raw.kind, line)
    finally:
        parts.close()
    tally.close()
    _judge(params, tally)
    if tally.rows.count:
        with _named(folder / SKIPPED_FILE):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / SKIPPED_FILE).write_text(json.dumps(tally.report(), ensure_ascii=False, indent=1) + "\n")
    return dict(parts.counts)


def _judge(params: Ingest, tally: Tally) -> None:
    """End where something cannot be used that may not be skipped; say what is skipped."""
    files = listed(tally.files, "file(s) that cannot be read to their end; repair them or take them away")
    rows = listed(tally.rows, "malformed record(s)")
    if rows and params.on_bad_row == "skip":
        logger.warning("skipped %s", rows)
    elif rows:
        rows += "\nRepair them, or set ingest.on_bad_row to skip, which goes on without them"
        raise RecordError("\n".join(part for part in (files, rows) if part))
    if files:
        raise RecordError(files)


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
    """Build data where they are missing or their source has changed, and check them against their `.dvc`."""
    parser = argparse.ArgumentParser(
        prog="python -m components.stages.ingest", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--force", action="store_true", help="build the data again although their source is as it was")
    parser.add_argument("--params", type=Path, default=parameters.PARAMS_FILE, help="whose section `ingest` counts")
    parser.add_argument("--data", type=Path, default=DATA, help="the folder to build")
    parser.add_argument("--explain", type=Path, metavar="FILE", help="show what its first rows become; builds nothing")
    parser.add_argument("--rows", type=int, default=EXPLAINED_ROWS, help=f"so many of them ({EXPLAINED_ROWS})")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="[ingest] %(message)s", stream=sys.stdout)
    signal.signal(signal.SIGTERM, _leave)
    try:
        if arguments.explain:
            print(explain(arguments.explain, arguments.rows))
            return
        tree = parameters.read_tree(arguments.params)
        params = parameters.of_section(tree, parameters.INGEST, Ingest, source=str(arguments.params))
        _bring(params, arguments.data, force=arguments.force)
    except (parameters.ParamsError, RecordError, DigestError, WriteError) as error:
        raise SystemExit(f"ingest: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("ingest: stopped; nothing was changed") from None


def _leave(signum: int, frame: object) -> NoReturn:
    raise SystemExit(f"ingest: stopped by {signal.Signals(signum).name}; nothing was changed")


def _bring(params: Ingest, data: Path, *, force: bool) -> None:
    pointer = data.with_name(f"{data.name}.dvc")
    if not force and is_from_source(params, data, pointer):
        digest = verify(data, pointer)
        if params.source.is_missing():
            logger.info("the source is not on this machine; %s/ is what %s records", data, pointer)
        logger.info("unchanged: %s", digest)
        return
    counts = build(params, data, downloads=DOWNLOADS)
    digest = verify(data, pointer)
    logger.info("built %s: %s", digest, ", ".join(f"{count} {kind}" for kind, count in counts.items()))


if __name__ == "__main__":
    main()
