"""How much of a file a model may have read before it is asked (Radford et al. 2019, section 4)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from components.sections.base import Count, section
from components.tasks.item_task import ItemTask

if TYPE_CHECKING:
    from components.evaluation.item_figures import Measured
    from components.evaluation.items import Passage
    from components.tasks.bench import Bench


@section
class OverlapTask(ItemTask):
    """Share of the file's n-grams of words that stand in the training text; its subject is who made that text.

    Letters' case and everything but letters and digits do not count. The training text's n-grams are in a Bloom filter
    that takes one of 10^8 others for one of them.
    """

    kind: Literal["overlap"]
    n: Count = 8
    asks: ClassVar = "tokens"
    needs: ClassVar = ("tokens",)
    measures: ClassVar = {"overlap": "share that stands in the training text"}

    def items(self) -> "list[Passage]":
        from components.evaluation.items import Passage, read_items

        return read_items(self.path, Passage)

    def subject(self, bench: "Bench", name: str) -> Any:
        from components.data.documents import documents
        from components.data.tokens import TokenFile
        from components.evaluation.overlap import seen

        path = bench.work.read_all("tokens")[name] / "train.json"
        # No text has more words than tokens, nor than half of its bytes and one.
        meta = TokenFile(path, context_length=1).meta
        most = min(meta.tokens, meta.bytes // 2 + 1)
        return seen(documents(path, bench.tokenizer), self.n, expected=most)

    def judge(self, subject: Any, items: "list[Passage]") -> "Mapping[str, Measured]":
        """Raises: RecordError: no text of the file has n words."""
        from components.data.records import RecordError
        from components.evaluation.item_figures import Measured
        from components.evaluation.overlap import ngrams

        found = [ngrams(item.text, self.n) for item in items]
        if not any(found):
            raise RecordError(f"{self.file}: none of its texts has {self.n} words, of which {self.name} is counted")
        hits = [float(sum(each in subject for each in own)) for own in found]
        return {"overlap": Measured(hits, [float(len(own)) for own in found])}


SECTION = OverlapTask
