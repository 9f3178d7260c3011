"""Whether a model answers as it should."""

import re
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import model_validator

from components.sections.base import Count, section
from components.tasks.item_task import ItemTask

if TYPE_CHECKING:
    from components.evaluation.item_figures import Measured
    from components.evaluation.items import Answered
    from components.evaluation.text_scorer import TextScorer


@section
class ExactMatchTask(ItemTask):
    """Share of questions whose greedy reply is the answer, but for spaces around both.

    With a `pattern`, what is compared is its first match in the reply, or the match's first group where it has one.
    """

    kind: Literal["exact_match"]
    max_new_tokens: Count
    stops: tuple[str, ...] = ()  # a reply ends before the first of these
    pattern: str = ""
    delimiter: str = " "  # between question and answer of examples (`few_shot`)
    measures: ClassVar = {"exact_match": "answers given exactly"}

    @model_validator(mode="after")
    def _pattern_is_one(self) -> "ExactMatchTask":
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(f"pattern {self.pattern!r} is no regular expression: {error}") from None
        return self

    asked: ClassVar = "query"

    def shown(self, item: "Answered") -> str:
        return f"{item.query}{self.delimiter}{item.answer}"

    def items(self) -> "list[Answered]":
        from components.evaluation.items import Answered, read_items

        return read_items(self.path, Answered)

    def judge(self, subject: "TextScorer", items: "list[Answered]") -> "dict[str, Measured]":
        from components.evaluation.item_figures import shares

        stops = [stop for stop in self.stops if stop]
        replies = subject.replies([i.query for i in items], stops=stops, max_new_tokens=self.max_new_tokens)
        said = [self.answer_in(reply) for reply in replies]
        return {"exact_match": shares([own == item.answer.strip() for own, item in zip(said, items, strict=True)])}

    def answer_in(self, reply: str) -> str | None:
        """What of a reply is compared; None where the pattern is not in it."""
        if not self.pattern:
            return reply.strip()
        match = re.search(self.pattern, reply)
        return match and str(match.group(1 if match.re.groups else 0)).strip()


SECTION = ExactMatchTask
