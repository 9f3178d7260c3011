"""Human and assistant in plain text, as Anthropic's data have it (arXiv:2204.05862)."""

from components.data.chat_format import ChatFormat, Frame

FORMAT = ChatFormat(
    frames={
        "system": Frame("", ""),
        "user": Frame("\n\nHuman: "),
        "assistant": Frame("\n\nAssistant:", "<|endoftext|>"),
    },
    end="<|endoftext|>",
    markers=(),
    endoftext="<|endoftext|>",
    pad="<|pad|>",
    written=("\n\nHuman:", "\n\nAssistant:"),
    lead=" ",
    trims=True,
)
