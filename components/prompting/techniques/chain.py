"""Prompts one after another, each given what was said to the one before (AI chains, arXiv:2110.01691)."""

from collections.abc import Mapping, Sequence
from typing import Literal

from components.prompting.question import Question
from components.prompting.technique import Said, Setting, Technique
from components.sections.base import section
from components.sections.files import InputFile


@section
class Chain(Technique):
    """Three prompts: the first has the question, the others what was said before, `previous`, and perhaps it too."""

    kind: Literal["chain"]
    first: InputFile
    then: InputFile
    last: InputFile

    def templates(self) -> Mapping[str, frozenset[str]]:
        later = {path: self.template(path).variables & {"question"} | {"previous"} for path in (self.then, self.last)}
        return {self.first: frozenset({"question"}), **later}

    def answer(self, questions: Sequence[Question], setting: Setting) -> list[Said]:
        previous = [""] * len(questions)
        traces: list[tuple[str, ...]] = [()] * len(questions)
        wanted = self.templates()
        for place, path in enumerate((self.first, self.then, self.last)):
            template, given = self.template(path), wanted[path]
            values = [{"question": q.query, "previous": own} for q, own in zip(questions, previous, strict=True)]
            prompts = [template.render(**{name: own[name] for name in given}) for own in values]
            tokens = setting.answer_tokens if place == 2 else setting.reasoning_tokens
            previous = setting.ask.ask(prompts, tokens=tokens)
            traces = [(*trace, *new) for trace, *new in zip(traces, prompts, previous, strict=True)]
        return [Said(own, trace) for own, trace in zip(previous, traces, strict=True)]


SECTION = Chain
