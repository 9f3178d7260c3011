"""Whether replies are still English: hand-counted words, and perplexity against one row at a time."""

import math
from collections import defaultdict
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from torch.nn import functional as F

from components.models.config import GPTConfig
from components.models.transformer import GPT
from components.tasks.bench import Bench
from components.tasks.english import EnglishTask

PROMPTS = [[1, 2, 3], [4], [5, 6]]
REPLIES = {"adopt": [[7], [8, 0], [9, 1]], "ppo": [[7, 8, 0], [9], [3, 2, 1, 0]]}
TEXTS = {"adopt": ["one", "two", "three"], "ppo": ["I don't know.", "Xqzzv hello", "yes, 42 of them"]}


class Said(NamedTuple):
    """A reply with its text."""

    ids: list[int]
    words: str

    def text(self, _):
        return self.words


@pytest.fixture
def bench():
    """A bench without a stage: two models with replies that are given, and one network."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(11, 12, 2, 16, 2)).requires_grad_(False)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    bench = object.__new__(Bench)
    vars(bench).update(
        work=SimpleNamespace(section=SimpleNamespace(batch_size=2)),
        prompts=[SimpleNamespace(ids=ids) for ids in PROMPTS],
        tokenizer=SimpleNamespace(pad=0), device=torch.device("cpu"), precision="32-true",
        network=lambda name: model, fed={"models": ["adopt", "ppo"], "reference": ["adopt"]}, model=model,
        _replies=lambda name: [Said(ids, text) for ids, text in zip(REPLIES[name], TEXTS[name], strict=True)],
        judges={"length": lambda *rows: [10 * len(p.ids) + len(r.ids) for p, r in zip(*rows, strict=True)]},
    )  # fmt: skip
    return bench


def test_replies_of_all_models_are_judged_each_with_its_prompt(bench):
    assert {name: found.scores for name, found in bench.replies.items()} == {
        "adopt": {"length": [31, 12, 22]},
        "ppo": {"length": [33, 11, 24]},
    }
    assert bench.replies["ppo"].texts == TEXTS["ppo"]


@pytest.mark.parametrize("name", ["adopt", "ppo"])
def test_surprise_is_the_mean_over_all_tokens_of_each_row_alone(bench, name):
    nats, tokens = 0.0, sum(map(len, REPLIES[name]))
    for prompt, reply in zip(PROMPTS, REPLIES[name], strict=True):
        logits = bench.model.logits(bench.model(torch.tensor([prompt + reply])))[0, len(prompt) - 1 : -1]
        nats += float(F.cross_entropy(logits.double(), torch.tensor(reply), reduction="sum"))
    assert bench.surprises("adopt")[name] == pytest.approx(nats / tokens, rel=1e-5)


def test_words_of_the_list_are_counted(bench):
    pytest.importorskip("spellchecker", reason="pip install '.[english]' brings the word list")
    metrics = defaultdict(dict)
    EnglishTask(kind="english").measure(bench, metrics)
    assert metrics["ppo"]["known_words_share"] == pytest.approx(7 / 8)  # i don't know; hello; yes of them; not xqzzv
    assert metrics["ppo"]["reply_perplexity"] == pytest.approx(math.exp(bench.surprises("adopt")["ppo"]))
