"""Who judges, by what the data allow: the gold function of a simulated labeler, or a second model of people's taste."""

import json
import random
from pathlib import Path

import pytest
import torch

from components.checkpoints import load_scalar, load_tokenizer
from components.data.records import Comparison, Demonstration, Message, write_records
from components.gates import verdict
from components.models.replies import EncodedPrompt, Reply
from components.params import load
from components.pipelines import open_pipeline
from components.stages.reward import run as reward
from components.tasks.referees import open_court, scalar_scores
from tests.components.alignment import make_files, make_stage, steady
from tests.contracts.imports import ROOT
from tests.flows.repository import WORDS

ALIGNED = ("ppo", "dpo", "feedme")


def said(role, draw, count=5):
    return Message(role=role, content=" ".join(draw.choices(WORDS, k=count)))


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """A reward stage whose people like `nice` and dislike `sea`; both halves of them."""
    make_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    draw = random.Random(0)
    for split in ("train", "judge", "validation"):
        rows = [
            Comparison(
                id=f"{split}-{number}",
                messages=(said("user", draw),),
                replies=(f"nice {draw.choice(WORDS)}", f"sea {draw.choice(WORDS)}"),
                ranks=(1, 2),
            )
            for number in range(64)
        ]
        write_records(Path(f"artifacts/compare/{split}.jsonl"), rows)
    for split in ("train", "validation", "test"):
        talk = [
            Demonstration(id=f"{split}-{n}", messages=(said("user", draw), said("assistant", draw))) for n in range(90)
        ]
        write_records(Path(f"artifacts/prepare/demonstrations/{split}.jsonl"), talk)
    return make_stage(tmp_path, "reward", reward__epochs=12, reward__optimizer=steady(0.003))


def judging(stage):
    """What `evaluate` works with after that reward stage."""
    return make_stage(Path.cwd(), "evaluate")


def label_by(stage, kind):
    Path("artifacts/compare/labeler.json").write_text(json.dumps({"kind": kind, "noise": 1.0, "tie_margin": 0.1}))
    return stage


def test_people_are_judged_by_a_model_of_the_half_that_nothing_trained_on(stage):
    reward(label_by(stage, "file"))
    assert stage.metrics["validation"]["pair_accuracy"] > 0.75
    first, judge = (load_scalar(stage.path(name)).state_dict() for name in ("model", "judge"))
    assert any(not torch.equal(first[name], judge[name]) for name in first)
    tokenizer = load_tokenizer(stage.path("judge"))
    court = open_court(judging(stage), tokenizer)
    assert list(court.referees) == ["judge", "typicality"]
    assert "gold" in court.left_out and "share_of_ceiling" in court.left_out
    ids = tokenizer.encode_prompt([{"role": "user", "content": "hello"}], max_tokens=16)
    prompt = EncodedPrompt("p", (Message(role="user", content="hello"),), ids)
    replies = [Reply([*tokenizer.encode_text(text), tokenizer.end], ended=True) for text in ("nice dog", "sea dog")]
    nice, sea = court.referees["judge"]([prompt, prompt], replies)
    assert nice > sea + 0.5


def test_gates_of_people_open_without_the_gold_function(stage):
    reward(label_by(stage, "file"))
    court = open_court(judging(stage), load_tokenizer(stage.path("model")))
    healthy = {
        "judge_win_rate_low": 0.7,
        "typicality_win_rate_low": 0.45,
        "pretrain_loss_increase": 0.0,
        "ended_share": 1.0,
    }
    metrics = {"left_out": court.left_out, "reward": {"pair_accuracy_low": 0.7}, **dict.fromkeys(ALIGNED, healthy)}
    gates = load(open_pipeline(root=ROOT), ROOT).shared["gates"]
    for name in ("reward", *ALIGNED):
        found = verdict(gates[name], metrics)
        assert found.passed and found.left_out, (name, str(found))
        assert not verdict(gates[name], {"left_out": court.left_out, name: {}}).passed


def test_a_simulated_labeler_is_judged_by_its_own_function(stage):
    reward(label_by(stage, "simulated"))
    assert not (stage.path("judge") / "model.safetensors").exists()
    court = open_court(judging(stage), load_tokenizer(stage.path("model")))
    assert list(court.referees) == ["gold", "typicality"] and court.inapplicable == ["judge"] and not court.left_out


def test_without_held_out_replies_typicality_is_left_out_and_said(stage):
    for split in ("validation", "test"):
        write_records(Path(f"artifacts/prepare/demonstrations/{split}.jsonl"), [])
    reward(label_by(stage, "simulated"))
    court = open_court(judging(stage), load_tokenizer(stage.path("model")))
    assert list(court.referees) == ["gold"] and "too few" in court.left_out["typicality"]


def test_a_reply_that_was_cut_is_scored_as_it_was_sampled(stage):
    """Without an end marker: the score is read at its own last token."""
    tokenizer = load_tokenizer(Path("artifacts/reward/model"))
    ids = tokenizer.encode_prompt([{"role": "user", "content": "hello"}], max_tokens=16)
    prompt = EncodedPrompt("p", (), ids)
    cut = tokenizer.encode_text("nice dog today")
    score = scalar_scores(judging(stage), Path("artifacts/reward/model"), tokenizer)
    (found,) = score([prompt], [Reply(cut, ended=False)])
    model = load_scalar(Path("artifacts/reward/model"))
    with torch.no_grad():
        expected = model(torch.tensor([ids + cut]))[0, -1]
    assert found == pytest.approx(float(expected), abs=1e-5)
