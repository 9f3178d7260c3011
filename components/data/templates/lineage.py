"""The format of models that are trained here from nothing.

    <|user|> text <|assistant|> text <|end|> <|user|> text <|assistant|> ...

Each marker is one special token.
"""

from components.data.chat_format import ChatFormat, Frame

FORMAT = ChatFormat(
    frames={
        "system": Frame("<|system|>"),
        "user": Frame("<|user|>"),
        "assistant": Frame("<|assistant|>", "<|end|>"),
    },
    end="<|end|>",
    markers=("<|system|>", "<|user|>", "<|assistant|>"),
    endoftext="<|endoftext|>",
    pad="<|pad|>",
)
