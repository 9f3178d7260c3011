"""Whether a model translates when it is shown how (Radford et al. 2019, section 3.7)."""

from typing import TYPE_CHECKING, ClassVar, Literal

from components.sections.base import Count, section
from components.tasks.item_task import ItemTask

if TYPE_CHECKING:
    from components.evaluation.bleu import Bleu
    from components.evaluation.items import Translated
    from components.evaluation.text_scorer import TextScorer


@section
class TranslationTask(ItemTask):
    """BLEU of the first sentence of the greedy reply to `sentence =`, in points of 100.

    Behind pairs `sentence = translation` it is asked by `few_shot`, with a line's end as separator.
    """

    kind: Literal["translation"]
    max_new_tokens: Count
    measures: ClassVar = {"bleu": "BLEU"}

    asked: ClassVar = "source"

    def shown(self, item: "Translated") -> str:
        return f"{item.source} = {item.target}"

    def items(self) -> "list[Translated]":
        from components.evaluation.items import Translated, read_items

        return read_items(self.path, Translated)

    def judge(self, subject: "TextScorer", items: "list[Translated]") -> "dict[str, Bleu]":
        """Raises: ModuleNotFoundError: the extra is not installed."""
        from components.evaluation.wording import sentences

        try:
            from components.evaluation.bleu import bleu
        except ModuleNotFoundError:
            raise ModuleNotFoundError("translation needs sacrebleu: pip install '.[zero-shot]' brings it") from None
        prompts = [f"{item.source} =" for item in items]
        replies = subject.replies(prompts, stops=("\n",), max_new_tokens=self.max_new_tokens)
        said = [next(iter(sentences(reply)), "") for reply in replies]
        return {"bleu": bleu(said, [item.target for item in items])}


SECTION = TranslationTask
