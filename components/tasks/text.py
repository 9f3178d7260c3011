"""Likelihood of held-out plain text."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from components.sections.base import section
from components.tasks.task import Fed, Task

if TYPE_CHECKING:
    from components.tasks.bench import Bench

BATCH = 32  # windows


@section
class TextTask(Task):
    """Loss on the split's plain text, in nats a token and bits a byte."""

    kind: Literal["text"]
    needs: ClassVar = ("tokens",)
    leaves: ClassVar = ("text_loss", "bits_per_byte")

    def subjects(self, fed: Fed) -> list[str]:
        return list(fed["models"])

    def known_by(self, fed: Fed) -> Iterator[tuple[str, str, str]]:
        yield from ((name, "bits_per_byte", "bits per byte of plain text") for name in fed["plain"])

    def measure(self, bench: "Bench", metrics: dict[str, Any]) -> None:
        from components.losses.language_modelling import bits_per_byte

        for name in bench.fed["models"]:
            nats, tokens = bench.text_loss(name, BATCH)
            bits = bits_per_byte(nats * tokens.meta.tokens, tokens.meta.bytes)
            metrics[name] |= {"text_loss": nats, "bits_per_byte": bits}


SECTION = TextTask
