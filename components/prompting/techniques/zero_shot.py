"""The question alone, in a template (GPT-2, section 2.1)."""

from collections.abc import Mapping, Sequence
from typing import Literal

from components.prompting.question import Question
from components.prompting.technique import Said, Setting, Technique, traced
from components.sections.base import section
from components.sections.files import InputFile


@section
class ZeroShot(Technique):
    """Asks with one prompt and no example."""

    kind: Literal["zero_shot"]
    prompt: InputFile

    def templates(self) -> Mapping[str, frozenset[str]]:
        return {self.prompt: frozenset({"question"})}

    def answer(self, questions: Sequence[Question], setting: Setting) -> list[Said]:
        template = self.template(self.prompt)
        prompts = [template.render(question=question.query) for question in questions]
        return traced(prompts, setting.ask.ask(prompts, tokens=setting.answer_tokens))


SECTION = ZeroShot
