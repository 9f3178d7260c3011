"""Where scores come from besides the reward model."""

import json
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from components.checkpoints import load_gpt
from components.data.chat import ChatTokenizer
from components.data.sequences import pack
from components.labeling.gold import Gold
from components.rewards.gold import GoldFunction
from components.rewards.mixture import Mixture, MixtureReward
from components.rewards.model import LearnedReward, ModelReward
from components.rewards.source import RewardContext, TextReward
from components.rewards.verifier import Verifier, VerifierReward
from tests.components.alignment import make_files


class Sums:
    """What `reasoning-gym` offers of a data set: items with a question and an answer, and a judge of answers."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return {"question": f"what is {index} plus 1", "answer": str(index + 1), "metadata": {}}

    def score_answer(self, answer, entry):
        return 1.0 if answer == entry["answer"] else 0.01


@pytest.fixture
def tokenizer(tmp_path, monkeypatch):
    make_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    return ChatTokenizer.load(Path("artifacts/prepare/tokenizer.json"))


@pytest.fixture
def trunk(tokenizer):
    return load_gpt(Path("artifacts/sft/model"))


def batch_of(tokenizer, prompts, texts):
    replies = [[*tokenizer.encode_text(text), tokenizer.end] for text in texts]
    return pack([prompt.ids for prompt in prompts], replies, pad_id=tokenizer.pad)


def test_a_verifier_gives_the_questions_and_judges_the_answers(tokenizer):
    source = Verifier(tokenizer, Sums(), max_prompt_tokens=32)
    prompts = source.prompts()
    assert [prompt.user for prompt in prompts] == [f"what is {n} plus 1" for n in range(3)]
    scores = source.score(prompts, batch_of(tokenizer, prompts, ["1", "7", "3"]))
    torch.testing.assert_close(scores, torch.tensor([1.0, 0.01, 1.0]))


def test_the_gold_function_reads_the_reply_and_what_the_user_said(tokenizer):
    gold = Gold(["a warm sea", "a blue dog"])
    prompts = Verifier(tokenizer, Sums(), max_prompt_tokens=32).prompts()[:2]
    scores = GoldFunction(tokenizer, gold).score(prompts, batch_of(tokenizer, prompts, ["nice.", "blue dog"]))
    expected = [gold.score("what is 0 plus 1", "nice."), gold.score("what is 1 plus 1", "blue dog")]
    torch.testing.assert_close(scores, torch.tensor(expected))


SUMS = VerifierReward(kind="verifier", task="chain_sum", questions=4)
FILES = {
    "reward": Path("artifacts/reward/model"),
    "demonstrations": Path("artifacts/prepare/demonstrations/train.jsonl"),
}


def context(tokenizer, trunk):
    return RewardContext(tokenizer, 0, trunk, FILES.__getitem__, max_prompt_tokens=36)


def test_the_reward_model_is_the_default_and_a_missing_extra_is_named(tokenizer, trunk, monkeypatch):
    assert isinstance(ModelReward(kind="model").build(context(tokenizer, trunk)), LearnedReward)
    monkeypatch.setitem(__import__("sys").modules, "reasoning_gym", None)
    with pytest.raises(ModuleNotFoundError, match=r"\.\[verifier\]"):
        SUMS.build(context(tokenizer, trunk))


def test_a_real_task_of_reasoning_gym(tokenizer, trunk):
    pytest.importorskip("reasoning_gym")
    source = SUMS.build(context(tokenizer, trunk))
    prompts = source.prompts()
    right = [source.dataset[n]["answer"] for n in range(4)]
    assert source.score(prompts, batch_of(tokenizer, prompts, right)).tolist() == [1.0] * 4
    wrong = source.score(prompts, batch_of(tokenizer, prompts, ["0"] * 4))
    assert (wrong < 1).all()


class Constant(TextReward):
    """Pays a reply by its number of words, times a factor."""

    def __init__(self, tokenizer, factor):
        super().__init__(tokenizer)
        self.factor = factor

    def score_text(self, prompt, reply):
        return self.factor * len(reply.split())


def test_a_mixture_is_the_weighted_sum_of_its_parts(tokenizer, trunk):
    asked = Verifier(tokenizer, Sums(), max_prompt_tokens=32)
    source = Mixture([(2.0, Constant(tokenizer, 1.0)), (-0.5, Constant(tokenizer, 3.0)), (10.0, asked)])
    prompts = source.prompts()
    assert [prompt.user for prompt in prompts] == [prompt.user for prompt in asked.prompts()]
    scores = source.score(prompts, batch_of(tokenizer, prompts, ["1", "two words", "3"]))
    torch.testing.assert_close(scores, torch.tensor([10.5, 1.1, 10.5]))  # 0.5 a word, and 10 a right answer
    part = {"weight": 1.0, "source": {"kind": "model"}}
    for parts, words in (
        ([part], "at least 2 items"),
        ([part, part], "one reward model at most"),
        ([part, {"weight": 1.0, "source": {"kind": "mixture", "parts": [part, part]}}], "does not match any|union_tag"),
    ):
        with pytest.raises(ValidationError, match=words):
            TypeAdapter(MixtureReward).validate_json(json.dumps({"kind": "mixture", "parts": parts}))
    whole = {"kind": "mixture", "parts": (part, {"weight": 0.5, "source": {"kind": "verifier", "task": "chain_sum",
                                                                          "questions": 2}})}  # fmt: skip
    built = TypeAdapter(MixtureReward).validate_json(json.dumps(whole)).parts
    assert [each.source.kind for each in built] == ["model", "verifier"]
    learned = built[0].source.build(context(tokenizer, trunk))
    assert Mixture([(1.0, Constant(tokenizer, 1.0)), (1.0, learned)]).network is learned.network
