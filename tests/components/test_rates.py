"""Tokens a second: laps by hand on a clock of our own, what PPO counts, and where a time may not be."""

import itertools
import json
from types import SimpleNamespace

import pytest

from components import rates
from components.rates import Rates
from components.training.fit import fit
from tests.components.alignment import make_files, make_module, make_stage
from tests.components.test_fit import Module
from tests.components.test_runtime import copy, start
from tests.components.test_runtime import root as root


@pytest.fixture
def clock(monkeypatch):
    """Every look at the clock is a second later, so that a lap without another one in it takes a second."""
    monkeypatch.setattr(rates, "time", SimpleNamespace(monotonic=itertools.count().__next__))


def lap(measured, phase, tokens):
    with measured.timed(phase) as own:
        own.tokens = tokens


def test_laps_by_hand(clock):
    """Of 10 and 30 tokens, a second each: 20 a second over all; since the last look 30, and nothing of what rested."""
    measured = Rates()
    lap(measured, "sampling", 10)
    lap(measured, "scoring", 8)
    assert measured.latest() == {"sampling_tokens_per_second": 10, "scoring_tokens_per_second": 8}
    lap(measured, "sampling", 30)
    assert measured.latest() == {"sampling_tokens_per_second": 30}
    assert measured.latest() == {}
    assert measured.totals() == {"sampling_tokens_per_second": 20, "scoring_tokens_per_second": 8}


def test_a_phase_that_fails_counts_nothing(clock):
    measured = Rates()
    with pytest.raises(ValueError, match="no"), measured.timed("sampling"):
        raise ValueError("no")
    assert measured.totals() == {}


def test_ppo_counts_what_it_samples_scores_and_trains_on(tmp_path, monkeypatch, clock):
    """In its second iteration: the first one's rates have the check before the first update in them."""
    monkeypatch.chdir(tmp_path)
    make_files(tmp_path)
    stage = make_stage(tmp_path)
    module = make_module(stage)
    module.iterate()
    stage.rates.latest()
    batch = module.make_batch(1)
    figures = module.iterate()
    sampled = round(figures["rollout/response_tokens"] * stage.section.rollout_batch_size)
    whole = sampled + sum(len(module.prompts[row].ids) for _, row in batch)
    assert stage.rates.latest() == {
        "rollout/sampling_tokens_per_second": sampled,
        "rollout/scoring_tokens_per_second": whole,
        "rollout/figures_tokens_per_second": whole,
        "update/training_tokens_per_second": stage.section.inner_epochs * whole,
    }


def test_a_steps_rate_is_logged_and_is_in_no_file_that_dvc_compares(tmp_path, monkeypatch):
    class Counting(Module):
        tokens = 7

    monkeypatch.chdir(tmp_path)
    stage = make_stage(tmp_path, compute__accelerator="cpu")
    stage.out.mkdir(parents=True)
    logged = []
    monkeypatch.setattr(stage.tracker, "log_metrics", lambda values, step=0: logged.append(values))
    fit(stage, Counting(stage, lambda w: w.sum()), checkpoint_interval=100)
    assert all(values["ppo/train/step_tokens_per_second"] > 0 for values in logged) and len(logged) == 6
    assert stage.path("history.csv").read_text().splitlines()[0] == "step,train/gradient_norm"
    assert stage.rates.totals().keys() == {"train/step_tokens_per_second"}


def test_a_stages_rates_are_in_its_record_alone(root):
    work = 'with stage.rates.timed("rollout/sampling") as lap: lap.tokens = 5; stage.metrics["rows"] = 1'
    process = start(copy(root, "here"), work)
    said = process.communicate(timeout=120)[0]
    out = root / "here/artifacts/pretrain"
    assert json.loads((out / "run.json").read_text())["rates"].keys() == {"rollout/sampling_tokens_per_second"}, said
    assert json.loads((out / "metrics.json").read_text()) == {"rows": 1}
    assert "rollout/sampling: " in said and "tokens/s" in said
