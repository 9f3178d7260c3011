"""Audit: what a treatment took from a planted corpus, beside what it should have taken.

A document counts for a step that it has reached; a copy, where what it is a copy of has reached the step, too.
"""

import json
from typing import TYPE_CHECKING

from components.sections.base import Fraction, section
from components.stage import Kind, Stage

if TYPE_CHECKING:
    from components.work import Work

# What each kind of step is for.
SOUGHT = {
    "quality": ("junk",),
    "exact_duplicates": ("copy",),
    "near_duplicates": ("copy", "near copy"),
    "contamination": ("quoting",),
}


@section
class Audit:
    """From which similarity on a near copy counts as one that should be found."""

    alike: Fraction


def run(work: "Work[Audit]") -> None:
    """The whole stage."""
    from components.data.treating.judging import judge

    steps = [name for name in json.loads(work.read("figures").read_text()) if name[0].isdigit()]
    work.metrics |= judge(steps, work.read("truth"), work.read("taken"), work.section.alike, SOUGHT)
    _report(work)


def _report(work: "Work[Audit]") -> None:
    page = "# What the treatment found of what was planted\n\n| step | figure | value |\n|---|---|---|\n"
    for step, figures in work.metrics.items():
        for name, value in figures.items():
            page += f"| {step} | {name} | {'-' if value is None else f'{value:.3f}'} |\n"
    work.path("report.md").write_text(page)
    work.tracker.log_file(work.path("report.md"))


STAGE = Stage(
    Audit,
    run,
    reads={"truth": Kind.DECISIONS, "taken": Kind.DECISIONS, "figures": Kind.FIGURES},
    makes={"report.md": Kind.REPORT},
)
