"""Whether a model answers as it should."""

import re
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import model_validator

from components.sections.base import Count, NonNegative, section
from components.tasks.item_task import ItemTask

if TYPE_CHECKING:
    from components.evaluation.item_figures import Measured
    from components.evaluation.items import Answered
    from components.evaluation.text_scorer import TextScorer


@section
class ExactMatchTask(ItemTask):
    """Share of questions whose reply is the answer, but for spaces around both, and F1 of their words.

    Replies are greedy, or with a `beam` the likeliest of a search so wide, longer ones being favoured by
    `length_penalty` (4 and 0.6 in GPT-3, arXiv:2005.14165, section 2.4). With a `pattern`, what is compared is its
    first match in the reply, or the match's first group where it has one.
    """

    kind: Literal["exact_match"]
    max_new_tokens: Count
    stops: tuple[str, ...] = ()  # a reply ends before the first of these
    beam: Count = 1
    length_penalty: NonNegative = 0.6
    pattern: str = ""
    delimiter: str = " "  # between question and answer of examples (`few_shot`)
    measures: ClassVar = {"exact_match": "answers given exactly", "f1": "F1 of the answers' words"}

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
        from components.evaluation.item_figures import Measured, shares
        from components.evaluation.wording import f1

        said = [self.answer_in(reply) for reply in self.replies(subject, [item.query for item in items])]
        answers = [item.answer.strip() for item in items]
        alike = [0.0 if own is None else f1(own, answer) for own, answer in zip(said, answers, strict=True)]
        return {
            "exact_match": shares([own == answer for own, answer in zip(said, answers, strict=True)]),
            "f1": Measured(alike, [1.0] * len(alike)),
        }

    def replies(self, subject: "TextScorer", prompts: list[str]) -> list[str]:
        """What a model says after each prompt, up to the first of the stops."""
        from components.evaluation.wording import before

        stops = [stop for stop in self.stops if stop]
        if self.beam == 1:
            return subject.replies(prompts, stops=stops, max_new_tokens=self.max_new_tokens)

        def over(text: str) -> bool:
            return any(stop in text for stop in stops)

        found = subject.candidates(
            prompts, width=self.beam, max_new_tokens=self.max_new_tokens, over=over, alpha=self.length_penalty
        )
        return [before(own[0], stops) for own in found]

    def answer_in(self, reply: str) -> str | None:
        """What of a reply is compared; None where the pattern is not in it."""
        if not self.pattern:
            return reply.strip()
        match = re.search(self.pattern, reply)
        return match and str(match.group(1 if match.re.groups else 0)).strip()


SECTION = ExactMatchTask
