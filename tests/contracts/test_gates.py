"""The gates' bounds hold for every whole lineage that was measured (docs/results), and not for one that learnt nothing.

The figures are those of `python -m flows.study seeds`.
"""

import json
from copy import deepcopy

import pytest

from components.gates import verdicts
from components.params import load
from tests.contracts.imports import ROOT

GATES = load(ROOT / "params.yaml").gates
LINEAGES = json.loads((ROOT / "docs/results/seeds.json").read_text())
STAGES = tuple(vars(GATES))


def without_signal(figures, stage):
    """The same figures where a stage learnt nothing: what a model is then worth needs no run.

    A pretrained model guesses uniformly among 256 bytes, 8 bits each; one that was not tuned keeps its loss;
    a scorer of noise orders half of the pairs; a policy that did not move, or at random, wins half of its prompts.
    """
    found = deepcopy(figures)
    chance = {
        "pretrain": {"bits_per_byte": 8.0},
        "sft": {"validation_loss_ratio": 1.0},
        "reward": {
            "pair_accuracy": 0.5,
            "pair_accuracy_low": 0.5,
            "share_of_ceiling": 0.5 / figures["reward"]["label_ceiling"],
        },
    }
    found[stage] |= chance.get(stage, {"gold_win_rate": 0.5, "gold_win_rate_low": 0.5})
    return found


def test_three_whole_lineages_were_measured_on_the_test_split():
    assert len({row["seed"] for row in LINEAGES}) >= 3
    assert {row["figures"]["split"] for row in LINEAGES} == {"test"}
    assert len({row["figures"]["precision"] for row in LINEAGES}) == 1


@pytest.mark.parametrize("row", LINEAGES, ids=lambda row: f"seed {row['seed']}")
@pytest.mark.parametrize("stage", STAGES)
def test_every_whole_lineage_passes(stage, row):
    found = verdicts(GATES, row["figures"])[stage]
    assert found.passed, str(found)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_learnt_nothing_does_not(stage):
    for row in LINEAGES:
        assert not verdicts(GATES, without_signal(row["figures"], stage))[stage].passed
