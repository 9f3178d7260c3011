"""First how one comes to the answer, then the answer (zero-shot chain of thought, arXiv:2205.11916)."""

from collections.abc import Mapping, Sequence
from typing import Literal

from components.prompting.question import Question
from components.prompting.technique import Said, Setting, Technique
from components.sections.base import section
from components.sections.files import InputFile


@section
class ChainOfThought(Technique):
    """Two prompts: one that has the model reason, one that has it answer after its reasoning."""

    kind: Literal["chain_of_thought"]
    reason: InputFile
    conclude: InputFile

    def templates(self) -> Mapping[str, frozenset[str]]:
        return {self.reason: frozenset({"question"}), self.conclude: frozenset({"question", "reasoning"})}

    def answer(self, questions: Sequence[Question], setting: Setting) -> list[Said]:
        reason, conclude = self.template(self.reason), self.template(self.conclude)
        first = [reason.render(question=question.query) for question in questions]
        reasoning = setting.ask.ask(first, tokens=setting.reasoning_tokens)
        second = [
            conclude.render(question=question.query, reasoning=own)
            for question, own in zip(questions, reasoning, strict=True)
        ]
        answers = setting.ask.ask(second, tokens=setting.answer_tokens)
        return [Said(own[-1], own) for own in zip(first, reasoning, second, answers, strict=True)]


SECTION = ChainOfThought
