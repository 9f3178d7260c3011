"""ChatML (OpenAI 2023), as Qwen, SmolLM2 and many others write it."""

from components.data.chat_format import ChatFormat, Frame

FORMAT = ChatFormat(
    frames={role: Frame(f"<|im_start|>{role}\n", "<|im_end|>\n") for role in ("system", "user", "assistant")},
    end="<|im_end|>",
    markers=("<|im_start|>",),
    endoftext="<|endoftext|>",
    pad="<|pad|>",
)
