"""What a way to ask is: questions in, answers out, over one model, one set of questions and one seed."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from components.prompting.question import Question
from components.prompting.template import Template, TemplateError, read_template
from components.sections.base import section
from components.sections.files import files_of

if TYPE_CHECKING:
    from components.prompting.asker import Asker

Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_-]*$")]


@dataclass(frozen=True)
class Setting:
    """Who is asked, and about what.

    Attributes:
        ask: the model.
        extract: the answer in what was said, or None.
        pool: answered questions that may be shown, none of those that are asked.
        seed: of what is drawn.
        answer_tokens: that an answer has at most.
        reasoning_tokens: that what leads to it has at most.
    """

    ask: "Asker"
    extract: Callable[[str], str | None]
    pool: Sequence[Question]
    seed: int
    answer_tokens: int
    reasoning_tokens: int


@dataclass(frozen=True)
class Said:
    """What a model came to say to a question, and what was asked and said on the way."""

    text: str
    trace: tuple[str, ...]


@section
class Technique(ABC):
    """A way to ask; its templates are files, on which the node depends."""

    name: Name  # what its figures are called by

    @abstractmethod
    def templates(self) -> Mapping[str, frozenset[str]]:
        """Its templates' files, and the variables that each is given."""

    @abstractmethod
    def answer(self, questions: Sequence[Question], setting: Setting) -> list[Said]:
        """What the model says to each question."""

    def paths(self) -> Iterator[str]:
        """The files of its templates and of those of techniques within it."""
        return files_of(self)

    def problems(self) -> Iterator[str]:
        """What is wrong with its templates."""
        try:
            wanted = self.templates()
        except TemplateError as error:  # some are given what they ask for
            yield f"{self.name}: {error}"
            return
        for path, given in wanted.items():
            try:
                read_template(Path(path)).check(given)
            except TemplateError as error:
                yield f"{self.name}: {error}"

    def template(self, path: str) -> Template:
        """One of them, read."""
        return read_template(Path(path))


def traced(prompts: Sequence[str], replies: Sequence[str]) -> list[Said]:
    """What was said to each prompt, as an answer."""
    return [Said(reply, (prompt, reply)) for prompt, reply in zip(prompts, replies, strict=True)]
