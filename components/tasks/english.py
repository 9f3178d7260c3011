"""Whether replies are still the language that the reference writes."""

import re
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from components.sections.base import section
from components.tasks.task import Fed, Task

if TYPE_CHECKING:
    from components.tasks.bench import Bench

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")


@section
class EnglishTask(Task):
    """What no stage trains on: the reference's perplexity of a model's replies, and the share of words in a word list.

    The list is that of `pyspellchecker` (`pip install .[english]`); names count as unknown, so
    the share is to be set against the reference's.
    """

    kind: Literal["english"]
    needs: ClassVar = ("reference", "prompts")
    leaves: ClassVar = ("reply_perplexity", "known_words_share")
    headlines: ClassVar = {"reply_perplexity": "perplexity of the replies by {reference}"}

    def subjects(self, fed: Fed) -> list[str]:
        return list(fed["models"])

    def measure(self, bench: "Bench", metrics: dict[str, Any]) -> None:
        """Raises: ModuleNotFoundError: the extra is not installed."""
        import math

        try:
            from spellchecker import SpellChecker
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                "evaluate.tasks has `english`: pip install '.[english]' brings its word list"
            ) from None
        known = SpellChecker(language="en")
        (reference,) = bench.fed["reference"]
        for name, nats in bench.surprises(reference).items():
            metrics[name]["reply_perplexity"] = math.exp(nats)
            said = [word for text in bench.replies[name].texts for word in _WORD.findall(text.lower())]
            metrics[name]["known_words_share"] = len(said) and sum(word in known for word in said) / len(said)


SECTION = EnglishTask
