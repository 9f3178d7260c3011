"""Likelihood of a file's texts."""

import re
from typing import TYPE_CHECKING, ClassVar, Literal

from components.sections.base import section
from components.tasks.item_task import ItemTask

if TYPE_CHECKING:
    from components.evaluation.item_figures import Measured
    from components.evaluation.items import Passage
    from components.evaluation.text_scorer import TextScorer


@section
class PassagesTask(ItemTask):
    """Perplexity a word and a byte, and bits a byte, of texts that each are scored whole, in the file's own units.

    Words are what white space parts, as the harness counts them; so models with other tokenizers can be compared. With
    a detokenizer a model is asked for the text as people write it, and units stay those of the file.
    """

    kind: Literal["passages"]
    detokenizer: Literal["none", "treebank", "wikitext"] = "none"
    measures: ClassVar = {
        "bits_per_byte": "bits per byte",
        "word_perplexity": "perplexity a word",
        "byte_perplexity": "perplexity a byte",
    }

    def items(self) -> "list[Passage]":
        from components.evaluation.items import Passage, read_items

        return read_items(self.path, Passage)

    def judge(self, subject: "TextScorer", items: "list[Passage]") -> "dict[str, Measured]":
        from components.evaluation.item_figures import Measured
        from components.evaluation.untokenizing import untokenized

        texts = [untokenized(item.text, self.detokenizer) for item in items]
        nats = [-logprob for logprob in subject.text_likelihoods(texts)]
        words = [float(len(re.split(r"\s+", item.text))) for item in items]
        size = [float(len(item.text.encode())) for item in items]
        return {
            "bits_per_byte": Measured(nats, size, "bits"),
            "word_perplexity": Measured(nats, words, "perplexity"),
            "byte_perplexity": Measured(nats, size, "perplexity"),
        }


SECTION = PassagesTask
