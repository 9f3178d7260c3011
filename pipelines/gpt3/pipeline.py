"""GPT-3's claim in small: examples in the context teach what no example teaches, and nothing is trained for it."""

from components.stage import Pipeline, node

PIPELINE = Pipeline(
    node("rules"),
    node("pretrain", tokenizer="rules/tokenizer.json", tokens="rules/tokens"),
    node("evaluate", models=("pretrain/model",), plain=("pretrain/model",), curves=("pretrain/history.csv",)),
)
