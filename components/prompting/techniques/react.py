"""Thoughts, actions of tools and what they gave, in turn (ReAct, arXiv:2210.03629)."""

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from components.prompting.question import Question
from components.prompting.technique import Said, Setting, Technique
from components.prompting.tools import TOOLS
from components.sections.base import Count, section
from components.sections.files import InputFile

_ACTION = re.compile(r"(\w+)\[([^\]\n]*)\]")
FINISH, OBSERVATION, THOUGHT = "finish", "\nObservation:", "Thought:"


@section
class React(Technique):
    """Asks again and again, each time with all that was said and observed, until `Finish[answer]`.

    A model that names no action has answered with what it said last; one that goes on for more steps has not.
    """

    kind: Literal["react"]
    prompt: InputFile
    steps: Count

    def templates(self) -> Mapping[str, frozenset[str]]:
        return {self.prompt: frozenset({"question", "tools", "steps"})}

    def answer(self, questions: Sequence[Question], setting: Setting) -> list[Said]:
        template = self.template(self.prompt)
        tools = "\n".join(help for _, help in TOOLS.values())
        told, last, going = [""] * len(questions), [""] * len(questions), list(range(len(questions)))
        traces: list[tuple[str, ...]] = [()] * len(questions)
        for _ in range(self.steps):
            prompts = [
                template.render(question=questions[q].query, tools=tools, steps=told[q] + THOUGHT) for q in going
            ]
            replies = setting.ask.ask(prompts, tokens=setting.reasoning_tokens, stops=(OBSERVATION,))
            asked, going = list(zip(going, prompts, replies, strict=True)), []
            for q, prompt, reply in asked:
                said, seen = act(reply)
                last[q], traces[q] = said, (*traces[q], prompt, reply)
                if seen is not None:
                    told[q] += f"{THOUGHT}{said}{OBSERVATION} {seen}\n"
                    last[q] = ""  # an action is no answer, should the steps be used up
                    going.append(q)
        return [Said(own, trace) for own, trace in zip(last, traces, strict=True)]


def act(reply: str) -> tuple[str, str | None]:
    """What of a reply counts, and what its first action gave; None where it is at an end."""
    for match in _ACTION.finditer(reply):
        name, given = match.group(1).lower(), match.group(2)
        if name == FINISH:
            return given, None
        if name in TOOLS:
            return reply[: match.end()], TOOLS[name][0](given)
    return reply, None


SECTION = React
