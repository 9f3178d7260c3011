"""Whether a model behaves in a conversation as it should."""

from typing import TYPE_CHECKING, ClassVar, Literal

from components.sections.base import Count, section
from components.tasks.item_task import ItemTask
from components.tasks.task import Fed

if TYPE_CHECKING:
    from components.evaluation.item_figures import Measured
    from components.evaluation.items import Script
    from components.evaluation.text_scorer import TextScorer


@section
class DialogueTask(ItemTask):
    """Share of scripted conversations whose greedy reply is as the script says, by a regular expression.

    `last_turn` is the same for a model that sees the last message alone: what is above it came of the conversation.
    `from_context` is by how much. Small sets of ours are in components/tasks/scripts, one a behaviour.
    """

    kind: Literal["dialogue"]
    max_new_tokens: Count
    measures: ClassVar = {
        "behaved": "replies as the script says",
        "last_turn": "the same, of those who see the last message alone",
        "from_context": "what the conversation adds to that",
    }

    def subjects(self, fed: Fed) -> list[str]:
        return [name for name in fed["models"] if name not in fed["plain"]]

    def items(self) -> "list[Script]":
        from components.evaluation.items import Script, read_items

        return read_items(self.path, Script)

    def judge(self, subject: "TextScorer", items: "list[Script]") -> "dict[str, Measured]":
        from components.evaluation.item_figures import Measured, shares

        said = subject.answers([item.messages for item in items], max_new_tokens=self.max_new_tokens)
        alone = subject.answers([item.messages[-1:] for item in items], max_new_tokens=self.max_new_tokens)
        met = [item.is_met(reply) for item, reply in zip(items, said, strict=True)]
        met_alone = [item.is_met(reply) for item, reply in zip(items, alone, strict=True)]
        gain = [float(own) - float(less) for own, less in zip(met, met_alone, strict=True)]
        return {
            "behaved": shares(met),
            "last_turn": shares(met_alone),
            "from_context": Measured(gain, [1.0] * len(gain), "difference"),
        }


SECTION = DialogueTask
