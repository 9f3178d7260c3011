"""No new network: the model that feeds the node goes on being pretrained (continued pretraining)."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from components.sections.base import section

if TYPE_CHECKING:
    from components.models.transformer import GPT
    from components.stage import Node


@section
class Fed:
    """The model that the pipeline feeds the node as `base`, whatever its family."""

    kind: Literal["fed"]

    def unwired(self, node: "Node") -> Iterator[str]:
        """What does not go together with what feeds the node."""
        if not node.inputs.get("base"):
            yield f"kind is fed, and nothing feeds a model `base` to {node.name}"

    def network(self, base: Path | None, *, vocab_size: int, context_length: int) -> "GPT":
        """That model, to be trained on.

        Raises:
            ValueError: its context is shorter.
        """
        from components.checkpoints import load_gpt

        assert base is not None  # of a node that nothing feeds `unwired` has told
        model = load_gpt(base)
        if model.config.context_length < context_length:
            raise ValueError(
                f"limits.context_length is {context_length}, and {base} computes no more than "
                f"{model.config.context_length} tokens"
            )
        return model


SECTION = Fed
