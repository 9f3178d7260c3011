"""The pages that a lineage and a registered version show about themselves, as Markdown."""

from collections.abc import Iterable, Mapping

from components.figures import Headline

GATE, WEIGHTS_TAG = "gate", "weights.sha256"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; empty without rows."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    head = list(head)
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *lines]) if lines else ""


def lineage_page(
    tags: Mapping[str, str],
    figures: Mapping[Headline, float],
    gates: Mapping[str, str],
    changed: Mapping[str, tuple[str, str]],
    stages: Mapping[str, tuple[str, str]],
) -> str:
    """A lineage's description: results, gates, differences from the default parameters, how to have it again.

    Args:
        tags: those of the lineage's run: `command`, `git.commit`, `data.digest`.
        figures: headline figures.
        gates: model -> "passed", or what failed.
        changed: parameter -> (default, here).
        stages: stage -> what DVC did, and the registered version or "".
    """
    dirty = tags["git.commit"].endswith("+")
    parts = [
        table(("figure", "value"), ((line.words, f"{value:.4g}") for line, value in figures.items())),
        table(("model", "gate"), gates.items()),
        "### Not as in the committed parameter file" if changed else "Parameters are those of the committed file.",
        table(("parameter", "default", "here"), ((key, *values) for key, values in changed.items())),
        "### The same again",
        f"    git checkout {tags['git.commit'].rstrip('+')}\n    {tags['command']}",
        "The code had uncommitted changes: `uncommitted.diff` of the stages' runs." if dirty else "",
        f"Data: `{tags['data.digest']}`",
        table(("stage", "this time", "model"), ((name, *what) for name, what in stages.items())),
    ]
    return "\n\n".join(part for part in parts if part)


def version_page(name: str, version: str, tags: Mapping[str, str]) -> str:
    """A registered version's description: what it was made of, by what, from whom, and what the gates said."""
    parents = sorted({key.split(".")[1] for key in tags if key.startswith("parent.")})
    commit = tags.get("git.commit", "unknown")
    rows = [
        ("weights, SHA-256", f"`{tags.get(WEIGHTS_TAG, 'unknown')}`"),
        ("gate", tags.get(GATE, "not evaluated yet")),
        ("bounds of the gate", tags.get("gate.bounds", "")),
        *(
            (f"from {tags.get(f'parent.{p}.model', p)}", f"version {tags.get(f'parent.{p}.version', 'unknown')}")
            for p in parents
        ),
        ("run", tags.get("run_id", "unknown")),
        ("parameters", "params.yaml of the run"),
        ("code", f"commit {commit.rstrip('+')}" + (" and uncommitted.diff of the run" if commit.endswith("+") else "")),
        ("data", tags.get("data.digest", "unknown")),
        ("tokenizer", tags.get("tokenizer.digest", "")),
        ("precision", tags.get("precision", "unknown")),
        ("processor", f"{tags.get('processor', 'unknown')}, {tags.get('cores', '?')} cores"),
        ("Python", tags.get("python", "unknown")),
        ("packages", tags.get("packages", "unknown").replace(" ", ", ")),
    ]
    listing = table((f"{name}, version {version}", ""), ((left, right) for left, right in rows if right))
    return f"{listing}\n\nMade again by `python -m flows.reproduce models:/{name}/{version}`."
