"""One precision a lineage, decided once and recorded."""

import json

import pytest

from components.arithmetic import precision_of
from components.checkpoints import load_gpt, recorded_precision, save_model
from components.models import precision as arithmetic
from tests.components.alignment import make_files, make_stage


@pytest.fixture
def stage(tmp_path, monkeypatch):
    make_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    return lambda name, **changes: make_stage(tmp_path, name, **changes)


def decide(monkeypatch, answer):
    """Have the timing trial say that bf16 pays, or that it does not."""
    arithmetic.resolve.cache_clear()
    monkeypatch.setattr(arithmetic, "bf16_pays", lambda device_type: answer)


def resave(tmp_path, precision):
    folder = tmp_path / "artifacts/sft/model"
    save_model(folder, load_gpt(folder), tmp_path / "artifacts/prepare/tokenizer.json", precision=precision)


def test_pretrain_decides_once_even_if_a_second_trial_says_otherwise(stage, monkeypatch):
    decide(monkeypatch, True)
    started = stage("pretrain", compute__precision="auto")
    assert precision_of(started) == "bf16-mixed"
    decide(monkeypatch, False)
    assert precision_of(started) == "bf16-mixed"
    assert started.metrics["precision"] == "bf16-mixed"


@pytest.mark.parametrize("name", ["compare", "reward", "ppo", "evaluate"])
def test_later_stages_take_what_the_model_was_trained_in(stage, tmp_path, monkeypatch, name):
    """A lineage begun where bf16 is fast goes on in bf16 where it is not."""
    resave(tmp_path, "bf16-mixed")
    decide(monkeypatch, False)
    assert precision_of(stage(name, compute__precision="auto")) == "bf16-mixed"


def test_a_user_may_pin_it(stage, tmp_path, monkeypatch):
    resave(tmp_path, "bf16-mixed")
    decide(monkeypatch, True)
    assert precision_of(stage("ppo", compute__precision="32-true")) == "32-true"


def test_a_model_folder_says_what_it_was_trained_in(tmp_path, stage):
    resave(tmp_path, "32-true")
    folder = tmp_path / "artifacts/sft/model"
    assert recorded_precision(folder) == "32-true"
    assert json.loads((folder / "config.json").read_text())["precision"] == "32-true"
    load_gpt(folder)  # and is read as before
