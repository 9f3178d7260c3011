"""Prompting: ways to ask, by models, by sets of questions, by seeds: how often the answer is right, and at what cost.

Writes every answer with what led to it, a table, a plot and a report, and publishes its templates in MLflow's prompt
registry. What was asked is kept as it comes, so that a stage that is stopped goes on with the next cell.
"""

import re
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from components.prompting.technique import Name
from components.sections.base import Count, Seed, section
from components.sections.compute import Compute
from components.sections.files import InputFile
from components.sections.limits import Limits
from components.sections.seam import Seam
from components.stage import Kind, Several, Stage

if TYPE_CHECKING:
    from components.work import Work


@section
class QuestionSet:
    """Questions, others that may be shown with their answers, and what of a reply is the answer."""

    name: Name
    file: InputFile
    examples: InputFile
    pattern: str  # its last match in a reply, or that one's first group
    limit: Count  # the first so many are asked
    answer_tokens: Count
    reasoning_tokens: Count

    @model_validator(mode="after")
    def _pattern_finds_something(self) -> "QuestionSet":
        try:
            empty = re.search(self.pattern, "")
        except re.error as error:
            raise ValueError(f"pattern {self.pattern!r} is no regular expression: {error}") from None
        if empty:
            raise ValueError(f"pattern {self.pattern!r} matches no text at all, and so is found in any reply")
        return self


@section
class Prompting:
    """The matrix; the first technique is what the others are compared with."""

    chat: bool  # asked as a user in the model's chat format, not for how a text goes on
    data: Annotated[tuple[QuestionSet, ...], Field(min_length=1)]
    techniques: Annotated[tuple[Annotated[Any, Seam("components.prompting.techniques")], ...], Field(min_length=1)]
    repeats: Count  # of everything, with other examples and draws

    @model_validator(mode="after")
    def _names_are_distinct(self) -> "Prompting":
        for what, named in (("techniques", self.techniques), ("data", self.data)):
            names = [each.name for each in named]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{what}: {', '.join(twice)} stands there twice")
        paths = {path for each in self.techniques for path in each.paths()}
        stems = [PurePath(path).stem for path in paths]
        if twice := sorted({stem for stem in stems if stems.count(stem) > 1}):
            raise ValueError(f"techniques: two templates are called {', '.join(twice)}; they are known by their names")
        return self


def run(work: "Work[Prompting]") -> None:
    """The whole stage."""
    from components.prompting.matrix import fill

    fill(work)


STAGE = Stage(
    Prompting,
    run,
    reads={"models": Several(Kind.LANGUAGE_MODEL)},
    makes={"answers.jsonl": Kind.REPLIES, "report.md": Kind.REPORT},
    shared={
        "seed": Seed,
        "compute.accelerator": Compute,
        "compute.precision": Compute,
        "limits.context_length": Limits,
    },
    plots="plots",
)
