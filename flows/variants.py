"""The copies of the repository that flows with a preset or overrides work in: list them, remove them.

python -m flows.variants                        # name, last use, size, and the command that asked for it
python -m flows.variants --remove smoke-1a2b3c4d
python -m flows.variants --all                  # remove all of them

Nothing that a variant made is lost for good: models stay in MLflow, outputs in DVC's cache, and the command brings the
variant back. One that a flow is working in is left alone.
"""

import argparse
import fcntl
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from flows.workspace import ASKED


@dataclass(frozen=True)
class Variant:
    """A copy of the repository; size in bytes, last use in seconds since the epoch."""

    root: Path
    asked: str
    used: float
    size: int


def variants(home: Path) -> list[Variant]:
    """The variants of a repository, those used last first."""
    folders = [path for path in (home / ".lineage" / "variants").glob("*") if path.is_dir() and not path.is_symlink()]
    return sorted(map(_variant, folders), key=lambda variant: variant.used, reverse=True)


def _variant(root: Path) -> Variant:
    asked = root / ASKED
    sizes = (path.lstat().st_size for path in root.rglob("*") if not path.is_dir() or path.is_symlink())
    return Variant(
        root,
        asked.read_text().strip() if asked.exists() else "unknown",
        (asked if asked.exists() else root).stat().st_mtime,
        sum(sizes),
    )


def remove(root: Path) -> bool:
    """Delete a variant, unless a flow is working in it; whether it is gone."""
    lock = root / ".lineage" / "flow.lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        shutil.rmtree(root)
    return True


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--remove", metavar="NAME", action="append", default=[], help="a variant to delete; repeatable")
    choice.add_argument("--all", action="store_true", help="delete every variant")
    arguments = parser.parse_args()
    found = {variant.root.name: variant for variant in variants(Path.cwd())}
    unknown = [name for name in arguments.remove if name not in found]
    if unknown:
        sys.exit(f"no variant {', '.join(unknown)}; there are {', '.join(found) or 'none'}")
    if not (arguments.all or arguments.remove):
        _print(list(found.values()))
        return
    busy = [name for name in (found if arguments.all else arguments.remove) if not _told(found[name])]
    if busy:
        sys.exit(f"left alone, a flow is working there: {', '.join(busy)}")


def _told(variant: Variant) -> bool:
    gone = remove(variant.root)
    if gone:
        print(f"removed {variant.root.name}, {variant.size / 2**20:.0f} MiB")
    return gone


def _print(found: list[Variant]) -> None:
    for variant in found:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(variant.used))
        print(f"{variant.root.name:28}{used}  {variant.size / 2**20:7.0f} MiB\n    {variant.asked}")
    print(f"{len(found)} variant(s), {sum(variant.size for variant in found) / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
