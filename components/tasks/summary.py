"""Whether a model sums a text up when it is told to by `TL;DR:` (Radford et al. 2019, section 3.6)."""

from typing import TYPE_CHECKING, ClassVar, Literal

from components.sections.base import Count, section
from components.tasks.item_task import ItemTask

if TYPE_CHECKING:
    from components.evaluation.item_figures import Measured
    from components.evaluation.items import Summarized
    from components.evaluation.text_scorer import TextScorer

SUMMARY = 3  # sentences


@section
class SummaryTask(ItemTask):
    """ROUGE of the first three sentences that a model writes behind a text and a hint, drawn from the likeliest two.

    Beside it what must lose and what is hard to beat: the same without the hint, three of the text's sentences at
    random, and its first three. ROUGE is F1 on word stems, as `rouge-score` counts it (Lin 2004); the mean of 1, 2
    and L is what a model is known by.
    """

    kind: Literal["summary"]
    hint: str = "\nTL;DR:"
    max_new_tokens: Count = 100
    top_k: Count = 2
    measures: ClassVar = {
        "rouge": "ROUGE of summaries",
        "rouge_1": "ROUGE-1 of summaries",
        "rouge_2": "ROUGE-2 of summaries",
        "rouge_l": "ROUGE-L of summaries",
        "rouge_no_hint": "ROUGE without the hint",
        "rouge_random": "ROUGE of three sentences at random",
        "rouge_first": "ROUGE of the first three sentences",
    }

    def items(self) -> "list[Summarized]":
        from components.evaluation.items import Summarized, read_items

        return read_items(self.path, Summarized)

    def judge(self, subject: "TextScorer", items: "list[Summarized]") -> "dict[str, Measured]":
        """Raises: ModuleNotFoundError: the extra is not installed."""
        from components.evaluation.item_figures import Measured
        from components.evaluation.wording import random_sentences, sentences

        try:
            from components.evaluation.rouge import rouge
        except ModuleNotFoundError:
            raise ModuleNotFoundError("summary needs rouge-score: pip install '.[zero-shot]' brings it") from None
        texts = [sentences(item.text) for item in items]
        said = {
            "": self.said(subject, items, self.hint),
            "_no_hint": self.said(subject, items, ""),
            "_random": [" ".join(random_sentences(text, SUMMARY, seed)) for seed, text in enumerate(texts)],
            "_first": [" ".join(text[:SUMMARY]) for text in texts],
        }
        found = {name: rouge(own, [item.summary for item in items]) for name, own in said.items()}
        figures = {f"rouge{name}": own.mean(axis=1) for name, own in found.items()}
        figures |= {f"rouge_{kind}": found[""][:, place] for place, kind in enumerate("12l")}
        return {name: Measured(figures[name].tolist(), [1.0] * len(items)) for name in self.measures}

    def said(self, subject: "TextScorer", items: "list[Summarized]", hint: str) -> list[str]:
        """The first three sentences of what a model writes behind each text and a hint."""
        from components.evaluation.wording import sentences

        texts = [item.text.rstrip() for item in items]
        replies = subject.drawn(texts, behind=hint, top_k=self.top_k, max_new_tokens=self.max_new_tokens)
        return [" ".join(sentences(reply)[:SUMMARY]) for reply in replies]


SECTION = SummaryTask
