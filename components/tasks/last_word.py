"""Which word a text ends with, as GPT-2 was asked (LAMBADA; Radford et al. 2019, section 3.3)."""

from typing import TYPE_CHECKING, ClassVar, Literal

from components.sections.base import Count, section
from components.tasks.item_task import ItemTask

if TYPE_CHECKING:
    from components.evaluation.item_figures import Measured
    from components.evaluation.items import Cloze
    from components.evaluation.text_scorer import TextScorer

LONGEST = 8  # tokens of a word, and of what tells that it is over


@section
class LastWordTask(ItemTask):
    """Share of texts whose last word is the likeliest one, by beam search over whole words, as far as it finds them: a
    word is as likely as all that was found of what it may be followed by.

    With the filter it is the likeliest that is no stop word, since a text's last word seldom is one; GPT-2's list is
    not published, this is scikit-learn's. Case and what follows the word do not count.
    """

    kind: Literal["last_word"]
    words: Count = 16  # that are looked at for a text
    measures: ClassVar = {
        "accuracy": "last words told, stop words left out",
        "accuracy_unfiltered": "last words told",
    }

    asked: ClassVar = "context"

    def shown(self, item: "Cloze") -> str:
        return item.context + item.completion

    def items(self) -> "list[Cloze]":
        """Raises: RecordError: rows break their schema, or a completion begins with no word."""
        from components.data.records import RecordError
        from components.evaluation.items import Cloze, read_items
        from components.evaluation.wording import first_word

        found = read_items(self.path, Cloze)
        for number, item in enumerate(found, start=1):
            if not first_word(item.completion)[0]:
                raise RecordError(f"{self.file}, item {number}: the completion {item.completion!r} begins with no word")
        return found

    def judge(self, subject: "TextScorer", items: "list[Cloze]") -> "dict[str, Measured]":
        from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

        from components.evaluation.item_figures import shares
        from components.evaluation.wording import first_word

        found = subject.candidates(
            [item.context.rstrip() for item in items],
            width=self.words,
            max_new_tokens=LONGEST,
            over=lambda text: first_word(text)[1],
            same=lambda text: first_word(text)[0].lower(),
        )
        said = [[word for text in own if (word := first_word(text)[0].lower())] for own in found]
        kept = [[word for word in own if word not in ENGLISH_STOP_WORDS] for own in said]
        right = [first_word(item.completion)[0].lower() for item in items]

        def hits(words: list[list[str]]) -> "Measured":
            return shares([own[:1] == [word] for own, word in zip(words, right, strict=True)])

        return {"accuracy": hits(kept), "accuracy_unfiltered": hits(said)}


SECTION = LastWordTask
