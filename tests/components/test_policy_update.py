"""What a whole PPO update must not depend on."""

from dataclasses import fields, replace

import pytest
import torch

from components.data.sequences import SequenceBatch
from components.models import packed
from components.rl.rollout import Experience, Rollout, rollout_figures
from tests.components.alignment import ALGORITHMS, algorithm, experience_of, make_module, updated


def assert_same(left, right):
    for name, weight in left[0].items():
        torch.testing.assert_close(weight, right[0][name], atol=1e-6, rtol=0, msg=lambda m, n=name: f"{n}: {m}")
    assert left[1].keys() == right[1].keys()
    for name, figure in left[1].items():
        assert figure == pytest.approx(right[1][name], abs=1e-5, rel=1e-5), name


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("size", [1, 2, 4])
def test_an_update_does_not_depend_on_how_the_minibatch_is_cut(stage, name, size):
    whole = updated(stage, **algorithm(name))
    assert_same(whole, updated(stage, ppo__microbatch_size=size, **algorithm(name)))


def permuted(order):
    def act(experience):
        index = torch.tensor(order)
        rollout = experience.rollout
        batch = rollout.batch
        moved = {
            f.name: None if getattr(rollout, f.name) is None else getattr(rollout, f.name)[index]
            for f in fields(Rollout)
            if f.name != "batch"
        }
        batch = SequenceBatch(batch.input_ids[index], batch.prompt_lengths[index], batch.response_mask[index])
        return Experience(Rollout(batch, **moved), experience.advantages[index], experience.returns[index])

    return act


def test_an_update_does_not_depend_on_the_order_of_the_batch(stage):
    order = [5, 2, 7, 0, 1, 6, 3, 4]
    assert_same(updated(stage), updated(stage, permuted(order), places=order))


def padded(columns):
    """More padding on the right of prompts and replies, filled with what must not be looked at."""

    def act(experience):
        rollout, batch = experience.rollout, experience.rollout.batch
        wide = torch.nn.functional.pad(batch.input_ids, (0, columns), value=3)
        mask = torch.nn.functional.pad(batch.response_mask, (0, columns), value=False)
        parts = {}
        for f in fields(Rollout):
            values = getattr(rollout, f.name)
            if f.name == "batch" or values is None or values.ndim != 2:
                continue
            parts[f.name] = torch.nn.functional.pad(values, (0, columns), value=7.5)
        moved = replace(rollout, batch=SequenceBatch(wide, batch.prompt_lengths, mask), **parts)
        pad = (0, columns)
        return Experience(
            moved,
            torch.nn.functional.pad(experience.advantages, pad, value=-3.0),
            torch.nn.functional.pad(experience.returns, pad, value=11.0),
        )

    return act


def test_an_update_does_not_depend_on_the_amount_of_padding(stage):
    """What a batch is padded with is cut away before the networks; test_models shows that they would not see it."""
    assert_same(updated(stage), updated(stage, padded(5)))


def test_figures_of_a_rollout_do_not_see_padding(stage):
    experience = experience_of(make_module(stage()))
    plain, wide = rollout_figures(experience), rollout_figures(padded(5)(experience))
    assert plain == pytest.approx(wide, abs=1e-6, rel=1e-6)


@pytest.mark.parametrize("sampling", [{}, {"generation__top_k": 4}])
@pytest.mark.parametrize("size", [1, 60])
def test_an_update_does_not_depend_on_which_rows_go_through_together(stage, monkeypatch, sampling, size):
    whole = updated(stage, **sampling)
    monkeypatch.setitem(packed.TOGETHER, "cpu", size)
    assert_same(whole, updated(stage, **sampling))


def test_replies_to_one_prompt_are_in_one_minibatch_side_by_side(stage, monkeypatch):
    module = make_module(stage(**algorithm("rloo"), ppo__inner_epochs=3, ppo__minibatch_size=4, ppo__microbatch_size=4))
    drawn = []

    class Seen:
        def __init__(self, module, step):
            pass

        def __call__(self, experience, rows, number):
            drawn.append(rows.tolist())
            return {"update/policy_loss": 0.0}

    monkeypatch.setattr("components.rl.ppo.PolicyUpdate", Seen)
    size = module.stage.section.rollout_batch_size
    module.update(experience_of(module), list(range(size)), 0)
    groups = [list(range(start, start + 4)) for start in range(0, size, 4)]
    assert all(rows in groups for rows in drawn)
    for epoch in range(3):
        assert sorted(drawn[epoch * len(groups) : (epoch + 1) * len(groups)]) == groups
