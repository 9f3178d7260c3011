"""A short chat, a long turn, and texts to make a tokenizer of."""

TEXTS = ["hello there, how are you today?", "i am fine, thank you very much!", "what did you do this weekend?"] * 40
CHAT = [
    {"role": "user", "content": "hello there"},
    {"role": "assistant", "content": "how are you?"},
    {"role": "user", "content": "i am fine"},
]
LONG = "river stone lamp " * 60
