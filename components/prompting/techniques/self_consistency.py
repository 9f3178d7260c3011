"""Several answers are drawn, and the commonest one counts (Wang et al. 2022, arXiv:2203.11171)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from components.prompting.question import Question, majority
from components.prompting.technique import Said, Setting, Technique
from components.sections.base import Count, Positive, section
from components.sections.seam import Seam


@section
class SelfConsistency(Technique):
    """Another technique's answer, `samples` times at a temperature.

    Of answers that are as common the one that came first counts; where nothing is found that looks like an answer, the
    first sample does.
    """

    kind: Literal["self_consistency"]
    technique: Annotated[Any, Seam("components.prompting.techniques", without="self_consistency")]
    samples: Count
    temperature: Positive

    def templates(self) -> Mapping[str, frozenset[str]]:
        return dict(self.technique.templates())

    def answer(self, questions: Sequence[Question], setting: Setting) -> list[Said]:
        drawn = []
        for number in range(self.samples):
            asker = setting.ask.drawing(self.temperature, setting.seed + number)
            drawn.append(self.technique.answer(questions, replace(setting, ask=asker)))
        found = []
        for own in zip(*drawn, strict=True):
            chosen = own[majority([setting.extract(said.text) for said in own])]
            found.append(Said(chosen.text, tuple(line for said in own for line in said.trace)))
        return found


SECTION = SelfConsistency
