"""Llama 2 chat (arXiv:2307.09288, appendix A.4): brackets that are text, and the system message within the first."""

from components.data.chat_format import ChatFormat, Frame

FORMAT = ChatFormat(
    frames={
        "system": Frame("<s>[INST] <<SYS>>\n", "\n<</SYS>>\n\n"),
        "user": Frame("<s>[INST] ", " [/INST]"),
        "assistant": Frame("", " </s>"),
    },
    end="</s>",
    markers=("<s>",),
    endoftext="</s>",
    pad="<pad>",
    written=("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"),
    lead=" ",
    trims=True,
    joins_system=True,
)
