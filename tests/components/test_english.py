"""Whether replies are still English: hand-counted words, and perplexity against one row at a time."""

import math
from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from components.models.config import GPTConfig
from components.models.transformer import GPT
from components.tasks.bench import Bench
from components.tasks.english import EnglishTask

PROMPTS = [[1, 2, 3], [4], [5, 6]]
REPLIES = [[7, 8, 0], [9], [3, 2, 1, 0]]


@pytest.fixture
def bench():
    torch.manual_seed(0)
    model = GPT(GPTConfig(11, 12, 2, 16, 2)).requires_grad_(False)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    replies = SimpleNamespace(
        replies=[SimpleNamespace(ids=ids) for ids in REPLIES], texts=["I don't know.", "Xqzzv hello", "yes, 42 of them"]
    )
    bench = SimpleNamespace(
        work=SimpleNamespace(section=SimpleNamespace(batch_size=2)),
        prompts=[SimpleNamespace(ids=ids) for ids in PROMPTS],
        tokenizer=SimpleNamespace(pad=0), device=torch.device("cpu"), precision="32-true",
        replies=lambda name: replies, network=lambda name: model, fed={"models": ["ppo"], "reference": ["adopt"]},
    )  # fmt: skip
    bench.surprise = lambda name, by: Bench.surprise(bench, name, by)
    bench.model = model
    return bench


def test_surprise_is_the_mean_over_all_tokens_of_each_row_alone(bench):
    nats = 0.0
    for prompt, reply in zip(PROMPTS, REPLIES, strict=True):
        logits = bench.model.logits(bench.model(torch.tensor([prompt + reply])))[0, len(prompt) - 1 : -1]
        nats += float(F.cross_entropy(logits.double(), torch.tensor(reply), reduction="sum"))
    assert bench.surprise("ppo", "adopt") == pytest.approx(nats / 8, rel=1e-5)


def test_words_of_the_list_are_counted(bench):
    pytest.importorskip("spellchecker", reason="pip install '.[english]' brings the word list")
    metrics = defaultdict(dict)
    EnglishTask(kind="english").measure(bench, metrics)
    assert metrics["ppo"]["known_words_share"] == pytest.approx(7 / 8)  # i don't know; hello; yes of them; not xqzzv
    assert metrics["ppo"]["reply_perplexity"] == pytest.approx(math.exp(bench.surprise("ppo", "adopt")))
