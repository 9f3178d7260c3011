"""Zephyr (arXiv:2310.16944): role markers are text, a message ends with the end of a sentence."""

from components.data.chat_format import ChatFormat, Frame

FORMAT = ChatFormat(
    frames={role: Frame(f"<|{role}|>\n", "</s>\n") for role in ("system", "user", "assistant")},
    end="</s>",
    markers=(),
    endoftext="</s>",
    pad="<pad>",
    written=("<|system|>", "<|user|>", "<|assistant|>"),
)
