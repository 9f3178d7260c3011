"""The records of a file, whatever holds them."""

import csv
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from components.data.containers import ROWS_AT_ONCE, BadRow, rows, stem
from components.data.records import not_utf8
from components.data.rows import Malformed, Place, RawRecord, as_records


def read_file(path: Path, name: str, told: Callable[[int], None]) -> Iterator[RawRecord | Malformed]:
    """The records of a file, malformed rows among them; memory does not grow with it, but with a `.json` file's.

    Args:
        path: the file; `containers.endings` knows its name's.
        name: what it is called in ids and groups, with slashes: the same on every machine.
        told: called now and then with the number of bytes that have been read.
    """
    shown, short = str(path), stem(name)
    with path.open("rb") as raw:
        try:
            for number, row in rows(path, raw):
                if number % ROWS_AT_ONCE == 0:
                    told(raw.tell())
                place = Place(shown, name, number, short)
                if isinstance(row, BadRow):
                    yield place.refused(str(row))
                else:
                    yield from as_records(row, place)
        except UnicodeDecodeError as error:
            yield Malformed(str(path), not_utf8(error), name)
        except (ValueError, EOFError, OSError, zlib.error, csv.Error, RecursionError) as error:
            yield Malformed(str(path), f"cannot be read: {error}", name)
