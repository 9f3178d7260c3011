"""Where the project lies, and its modules."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


def modules(folder: str) -> list[Path]:
    """Python files of a top-level folder."""
    return sorted((ROOT / folder).rglob("*.py"))
