"""GPT-3's data: a crawl, filtered, thinned, decontaminated and mixed by weight; and a network on it as it came."""

from components.stage import Pipeline, node

PIPELINE = Pipeline(
    node("planted", data="./data"),
    node("treat", data="planted/records"),
    node("audit", truth="planted/truth.jsonl", taken="treat/taken", figures="treat/metrics.json"),
    node("prepare", data="treat/records"),
    node("pretrain", tokenizer="prepare/tokenizer.json", tokens="prepare/tokens"),
    node("prepare-raw", stage="prepare", data="planted/records", base=("pretrain/model",)),
    node("raw", stage="pretrain", tokenizer="prepare-raw/tokenizer.json", tokens="prepare-raw/tokens"),
    node(
        "evaluate",
        models=("pretrain/model", "raw/model"),
        plain=("pretrain/model", "raw/model"),
        reference=("raw/model",),
        curves=("pretrain/history.csv", "raw/history.csv"),
    ),
)
