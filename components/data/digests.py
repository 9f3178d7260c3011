"""Digests: DVC's of files and folders, computed without DVC, and the one that decides every split."""

import hashlib
import json
from pathlib import Path

import yaml


def file_md5(path: Path) -> str:
    """MD5 of a file's bytes, as DVC 3 names it in its cache."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def folder_md5(folder: Path) -> str:
    """DVC 3's digest of a folder: the MD5 of its sorted list of (file MD5, relative path), ending in `.dir`."""
    entries = [
        {"md5": file_md5(path), "relpath": path.relative_to(folder).as_posix()}
        for path in folder.rglob("*")
        if path.is_file()
    ]
    listing = json.dumps(sorted(entries, key=lambda entry: tuple(Path(entry["relpath"]).parts)), sort_keys=True)
    return hashlib.md5(listing.encode()).hexdigest() + ".dir"


def recorded_md5(pointer: Path) -> str | None:
    """The digest that a .dvc file records, or None where there is no such file."""
    if not pointer.exists():
        return None
    return str(yaml.safe_load(pointer.read_text())["outs"][0]["md5"])


def hash_fraction(text: str, salt: str) -> float:
    """A number in [0, 1) that depends on nothing but its arguments: the coin of every split."""
    return int.from_bytes(hashlib.sha256(f"{salt}:{text}".encode()).digest()[:8], "big") / 2**64
