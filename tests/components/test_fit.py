"""Training ends before it does harm: gradients and weights that are not finite, machines that are not there."""

import json
import logging

import pytest
import torch
from torch import nn

from components.runtime import StageStopped
from components.sections.optimizer import Optimizer
from components.training.checkpointing import SafetensorsCheckpointIO, checkpoints
from components.training.fit import GradientNotFinite, SupervisedModule, WeightsNotFinite, fit
from tests.components.alignment import make_stage, steady

STEPS, BREAKS_AT = 6, 3


class Weight(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))


class Module(SupervisedModule):
    """Minimises a function of w, sum(w) unless given, but for one step at which its loss is another one."""

    def __init__(self, stage, loss, learning_rate=0.1, usual=torch.sum):
        super().__init__(stage, Weight(), Optimizer(**steady(learning_rate)), total_steps=STEPS)
        self.special, self.usual = loss, usual

    def rows(self, step):
        return [10 * step, 10 * step + 1]

    def make_batch(self, step):
        return torch.tensor(step)

    def train_on(self, batch, step):
        weight = self.network.weight
        loss = self.special(weight) if step == BREAKS_AT else self.usual(weight)
        return {"train/gradient_norm": self.minimise(loss)}


@pytest.fixture
def stage(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_stage(tmp_path, compute__accelerator="cpu")


def weights_of(folder):
    state = SafetensorsCheckpointIO().load_checkpoint(folder)["state_dict"]
    return next(value for key, value in state.items() if key.endswith("weight"))


@pytest.mark.parametrize(
    "loss",
    [
        lambda w: (w - w.detach()).clamp(min=0).sqrt().sum() + 1.0,  # the slope of a square root at 0 is infinite
        lambda w: ((w - w.detach()) * 0.0).sqrt().sum() + 1.0,  # infinity times 0: not a number
    ],
    ids=["infinite", "nan"],
)
def test_a_finite_loss_with_an_infinite_gradient_stops_before_the_weights_move(stage, loss):
    module = Module(stage, loss)
    with pytest.raises(GradientNotFinite) as caught:
        fit(stage, module, checkpoint_interval=1)
    assert torch.isfinite(module.network.weight).all()
    kept = checkpoints(stage.state)
    assert [folder.name for folder in kept] == ["step-00000002", "step-00000003"]  # steps 0, 1, 2 are done; 3 is not
    assert torch.equal(weights_of(kept[-1]), module.network.weight.detach())
    for words in (f"step {BREAKS_AT}", "[30, 31]", "learning rate", "32-true"):
        assert words in str(caught.value)


@pytest.mark.parametrize("checkpoint_interval", [1, 1000])
def test_weights_that_left_the_range_of_their_type_are_neither_kept_nor_published(stage, checkpoint_interval):
    """Five steps of Adam at 3e37 stay within what fp32 holds, the last one does not; no loss is asked for after it."""

    def small(weight):
        return (weight * 1e-3).sum()

    module = Module(stage, small, learning_rate=3e37, usual=small)
    module.network.weight.data.fill_(-1.75e38)
    with pytest.raises(WeightsNotFinite, match=r"network\.weight.*Lower the learning rate"):
        fit(stage, module, checkpoint_interval=checkpoint_interval)
    assert int(module.step) == STEPS
    kept = checkpoints(stage.state)
    assert len(kept) == (2 if checkpoint_interval == 1 else 0)
    assert all(torch.isfinite(weights_of(folder)).all() for folder in kept)


def test_a_healthy_run_ends_and_keeps_its_checkpoints(stage):
    stage.out.mkdir(parents=True)
    module = Module(stage, torch.sum)
    fit(stage, module, checkpoint_interval=4)
    assert int(module.step) == STEPS
    assert [folder.name for folder in checkpoints(stage.state)] == ["step-00000004"]
    rows = [json.loads(line) for line in (stage.scratch / "history.jsonl").read_text().splitlines()]
    assert rows[0]["train/gradient_norm"] == pytest.approx(2**0.5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"compute__devices": 64}, "compute.devices is 64, and this machine has"),
        ({"compute__strategy": "nonsense"}, "Lightning refuses"),
        ({"compute__accelerator": "cpu", "compute__strategy": "fsdp"}, "Lightning refuses"),
    ],
)
def test_a_machine_that_is_not_there_is_a_sentence(tmp_path, monkeypatch, caplog, changes, words):
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    caplog.set_level(logging.ERROR)
    stage = make_stage(tmp_path, **{"compute__accelerator": "cpu", **changes})
    with pytest.raises(StageStopped, match=words):
        fit(stage, Module(stage, lambda w: w.sum()), checkpoint_interval=1)
