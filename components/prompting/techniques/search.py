"""The model writes instructions itself, and the one is kept that does best (APE, arXiv:2211.01910)."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from components.prompting.question import Question, plain
from components.prompting.technique import Said, Setting, Technique, traced
from components.sections.base import Count, NaturalNumber, Positive, section
from components.sections.files import InputFile


@section
class Search(Technique):
    """Instructions that the model proposes after some answered questions, beside given ones.

    Each is scored on other questions of the pool, which are none of those that are asked in the end; of those that do
    as well the first is kept.
    """

    kind: Literal["search"]
    propose: InputFile
    example: InputFile
    prompt: InputFile
    instructions: Annotated[tuple[str, ...], Field(min_length=1)]  # to begin with
    proposals: NaturalNumber
    shown: Count  # examples behind which one is proposed
    scored_on: Count
    temperature: Positive

    def templates(self) -> Mapping[str, frozenset[str]]:
        return {
            self.propose: frozenset({"examples"}),
            self.example: frozenset({"question", "answer"}),
            self.prompt: frozenset({"instruction", "question"}),
        }

    def answer(self, questions: Sequence[Question], setting: Setting) -> list[Said]:
        pool = list(setting.pool)
        random.Random(setting.seed).shuffle(pool)
        judged, shown = pool[: self.scored_on], pool[self.scored_on :]
        proposed = dict.fromkeys((*self.instructions, *self.proposed(shown, setting)))
        scores = {instruction: self.score(instruction, judged, setting) for instruction in proposed}
        best = max(scores, key=lambda instruction: scores[instruction])  # the first of equal ones
        tried = tuple(f"{score:.3f} {instruction}" for instruction, score in scores.items())
        return [replace(own, trace=(*tried, *own.trace)) for own in self.asked(best, questions, setting)]

    def proposed(self, examples: Sequence[Question], setting: Setting) -> list[str]:
        """Instructions of the model, each after other examples.

        Raises:
            ValueError: too few are left.
        """
        if self.proposals and len(examples) < self.shown:
            raise ValueError(f"{self.name}: {self.scored_on} + {self.shown} examples are needed of {len(setting.pool)}")
        propose, example = self.template(self.propose), self.template(self.example)
        draws = [random.Random(f"{setting.seed} {n}").sample(examples, self.shown) for n in range(self.proposals)]
        shown = ["\n\n".join(example.render(question=q.query, answer=q.answer) for q in own) for own in draws]
        asker = setting.ask.drawing(self.temperature, setting.seed)
        replies = asker.ask([propose.render(examples=own) for own in shown], tokens=setting.reasoning_tokens)
        return [line for reply in replies if (line := next(iter(reply.strip().splitlines()), "").strip())]

    def score(self, instruction: str, judged: Sequence[Question], setting: Setting) -> float:
        """The share of some questions that are answered rightly with an instruction."""
        said = self.asked(instruction, judged, setting)
        hits = [setting.extract(own.text) == plain(q.answer) for own, q in zip(said, judged, strict=True)]
        return sum(hits) / max(1, len(hits))

    def asked(self, instruction: str, questions: Sequence[Question], setting: Setting) -> list[Said]:
        """What is said to questions with an instruction."""
        template = self.template(self.prompt)
        prompts = [template.render(instruction=instruction, question=q.query) for q in questions]
        return traced(prompts, setting.ask.ask(prompts, tokens=setting.answer_tokens))


SECTION = Search
