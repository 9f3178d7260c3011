"""Which of several answers a model finds likeliest."""

from typing import TYPE_CHECKING, ClassVar, Literal

from components.sections.base import section
from components.tasks.item_task import ItemTask

if TYPE_CHECKING:
    from components.evaluation.item_figures import Measured
    from components.evaluation.items import Choice
    from components.evaluation.text_scorer import TextScorer


@section
class MultipleChoiceTask(ItemTask):
    """Share of questions whose right answer is the likeliest, by log-likelihoods that are comparable in several ways.

    Summed as they are (the harness's `acc`), divided by the answer's tokens, characters (`acc_norm`) or UTF-8 bytes
    (`acc_bytes`), or less that of the answer without the question (`acc_mutual_info`; GPT-3, section 2.4).
    """

    kind: Literal["multiple_choice"]
    delimiter: str = " "  # between question and answer; it belongs to no answer's length
    measures: ClassVar = {
        "accuracy": "accuracy",
        "accuracy_per_token": "accuracy by likelihood a token",
        "accuracy_per_character": "accuracy by likelihood a character",
        "accuracy_per_byte": "accuracy by likelihood a byte",
        "accuracy_unconditional": "accuracy by likelihood over that without the question",
    }

    asked: ClassVar = "query"

    def shown(self, item: "Choice") -> str:
        return f"{item.query}{self.delimiter}{item.choices[item.gold]}"

    def items(self) -> "list[Choice]":
        from components.evaluation.items import Choice, read_items

        return read_items(self.path, Choice)

    def judge(self, subject: "TextScorer", items: "list[Choice]") -> "dict[str, Measured]":
        from components.evaluation.item_figures import shares

        hits: dict[str, list[bool]] = {name: [] for name in self.measures}
        with_query = subject.likelihoods([(i.query, self.delimiter + choice) for i in items for choice in i.choices])
        alone = subject.likelihoods([("", self.delimiter + choice) for i in items for choice in i.choices])
        pairs = zip(with_query, alone, strict=True)
        for item in items:
            found = [(*next(pairs), choice) for choice in item.choices]
            values = {
                "accuracy": [own.logprob for own, _, _ in found],
                "accuracy_per_token": [own.logprob / own.tokens for own, _, _ in found],
                "accuracy_per_character": [own.logprob / len(choice) for own, _, choice in found],
                "accuracy_per_byte": [own.logprob / len(choice.encode()) for own, _, choice in found],
                "accuracy_unconditional": [own.logprob - bare.logprob for own, bare, _ in found],
            }
            for name, scores in values.items():
                hits[name].append(scores.index(max(scores)) == item.gold)
        return {name: shares(own) for name, own in hits.items()}


SECTION = MultipleChoiceTask
