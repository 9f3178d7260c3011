"""The curve of a training run: one row a step, kept beside the checkpoints so that a resumed run has it whole."""

import csv
import json
from pathlib import Path


class History:
    """Figures by step, appended to a file in the stage's state folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, step: int, figures: dict[str, float]) -> None:
        """Keep the figures of a step."""
        with self.path.open("a") as out:
            out.write(json.dumps({"step": step, **figures}) + "\n")

    def rows(self) -> list[dict[str, float]]:
        """One row a step, the figures of a step's several entries together; a line cut short by a kill is left out."""
        merged: dict[int, dict[str, float]] = {}
        for line in self.path.read_text().splitlines() if self.path.exists() else []:
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            merged.setdefault(row["step"], {}).update(row)
        return [merged[step] for step in sorted(merged)]

    def truncate(self, step: int) -> None:
        """Forget what came after a step: the run resumes there and will say it again."""
        kept = [row for row in self.rows() if row["step"] <= step]
        partial = self.path.with_suffix(".partial")
        partial.write_text("".join(json.dumps(row) + "\n" for row in kept))
        partial.replace(self.path)

    def export(self, path: Path) -> None:
        """Write the curve as CSV; a figure that a step does not have is left empty."""
        rows = self.rows()
        columns = ["step", *sorted({key for row in rows for key in row} - {"step"})]
        with path.open("w", newline="") as out:
            writer = csv.DictWriter(out, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
