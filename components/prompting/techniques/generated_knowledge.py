"""The model first says what it knows of the question (Liu et al. 2021, arXiv:2110.08387)."""

from collections.abc import Mapping, Sequence
from typing import Literal

from components.prompting.question import Question, majority
from components.prompting.technique import Said, Setting, Technique
from components.sections.base import Count, Positive, section
from components.sections.files import InputFile


@section
class GeneratedKnowledge(Technique):
    """Statements are drawn, the question is answered after each, and the commonest answer counts.

    The paper takes the answer that has the greatest probability after any statement; a free answer has none to compare.
    """

    kind: Literal["generated_knowledge"]
    know: InputFile
    conclude: InputFile
    statements: Count
    temperature: Positive

    def templates(self) -> Mapping[str, frozenset[str]]:
        return {self.know: frozenset({"question"}), self.conclude: frozenset({"question", "knowledge"})}

    def answer(self, questions: Sequence[Question], setting: Setting) -> list[Said]:
        know, conclude = self.template(self.know), self.template(self.conclude)
        first = [know.render(question=question.query) for question in questions]
        drawn = []
        for number in range(self.statements):
            asker = setting.ask.drawing(self.temperature, setting.seed + number)
            known = asker.ask(first, tokens=setting.reasoning_tokens)
            second = [
                conclude.render(question=question.query, knowledge=own)
                for question, own in zip(questions, known, strict=True)
            ]
            drawn.append(
                list(zip(first, known, second, setting.ask.ask(second, tokens=setting.answer_tokens), strict=True))
            )
        found = []
        for own in zip(*drawn, strict=True):
            chosen = own[majority([setting.extract(trace[-1]) for trace in own])]
            found.append(Said(chosen[-1], tuple(line for trace in own for line in trace)))
        return found


SECTION = GeneratedKnowledge
