"""Answered questions before the question, drawn by seed or the likest ones (GPT-3, section 2; arXiv:2101.06804)."""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from components.prompting.question import Question
from components.prompting.technique import Said, Setting, Technique, traced
from components.sections.base import Count, section
from components.sections.files import InputFile

BETWEEN = "\n\n"  # examples


@section
class FewShot(Technique):
    """Asks behind `shots` examples of the pool.

    By `similarity` they are those whose words are likest (cosine of TF-IDF), the likest last.
    """

    kind: Literal["few_shot"]
    prompt: InputFile
    example: InputFile  # of one answered question; it may show its rationale
    shots: Count
    select: Literal["seed", "similarity"] = "seed"

    def templates(self) -> Mapping[str, frozenset[str]]:
        shown = frozenset({"question", "answer"})
        rationale = self.template(self.example).variables & {"rationale"}
        return {self.prompt: frozenset({"question", "examples"}), self.example: shown | rationale}

    def answer(self, questions: Sequence[Question], setting: Setting) -> list[Said]:
        template = self.template(self.prompt)
        chosen = self.chosen(questions, setting)
        shown = [BETWEEN.join(map(self.shown, examples)) for examples in chosen]
        prompts = [
            template.render(question=question.query, examples=examples)
            for question, examples in zip(questions, shown, strict=True)
        ]
        reasons = "rationale" in self.template(self.example).variables
        tokens = setting.reasoning_tokens if reasons else setting.answer_tokens
        # A model that goes on would ask and answer another question.
        return traced(prompts, setting.ask.ask(prompts, tokens=tokens, stops=(BETWEEN,)))

    def shown(self, question: Question) -> str:
        """An example."""
        template = self.template(self.example)
        values = {"question": question.query, "answer": question.answer, "rationale": question.rationale}
        return template.render(**{name: values[name] for name in template.variables})

    def chosen(self, questions: Sequence[Question], setting: Setting) -> Iterator[list[Question]]:
        """The examples of each question.

        Raises:
            ValueError: the pool has fewer.
        """
        if len(setting.pool) < self.shots:
            raise ValueError(f"{self.name}: {self.shots} examples are asked for, and there are {len(setting.pool)}")
        if self.select == "similarity":
            for places in likest([q.query for q in questions], [q.query for q in setting.pool], self.shots):
                yield [setting.pool[place] for place in reversed(places)]
            return
        for place, _ in enumerate(questions):
            yield random.Random(f"{setting.seed} {place}").sample(list(setting.pool), self.shots)


def likest(texts: Sequence[str], pool: Sequence[str], count: int) -> list[list[int]]:
    """Of each text the places in a pool of those whose words are likest, the likest first."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    counted = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b").fit(pool)
    likeness = (counted.transform(texts) @ counted.transform(pool).T).toarray()
    return [(-row).argsort(kind="stable")[:count].tolist() for row in likeness]


SECTION = FewShot
