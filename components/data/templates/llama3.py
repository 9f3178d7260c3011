"""Llama 3 chat (arXiv:2407.21783, section 4.1)."""

from components.data.chat_format import ChatFormat, Frame

FORMAT = ChatFormat(
    frames={
        role: Frame(f"<|start_header_id|>{role}<|end_header_id|>\n\n", "<|eot_id|>")
        for role in ("system", "user", "assistant")
    },
    end="<|eot_id|>",
    markers=("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>"),
    endoftext="<|end_of_text|>",
    pad="<|finetune_right_pad_id|>",
    begin="<|begin_of_text|>",
    trims=True,
)
