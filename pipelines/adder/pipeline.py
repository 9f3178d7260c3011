"""minGPT's example: a small GPT learns to add two numbers from problems alone, and is asked others."""

from components.stage import Pipeline, node

PIPELINE = Pipeline(
    node("addition"),
    node("pretrain", tokenizer="addition/tokenizer.json", tokens="addition/tokens"),
    node("evaluate", models=("pretrain/model",), plain=("pretrain/model",), curves=("pretrain/history.csv",)),
)
