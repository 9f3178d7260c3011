"""The gates' bounds separate: whole lineages pass them, and what had no signal does not (docs/results).

The figures are those that `python -m flows.study seeds` and `python -m flows.study controls` measured.
"""

import json

import pytest

from components.gates import verdicts
from components.params import load
from tests.contracts.imports import ROOT

GATES = load(ROOT / "params.yaml").gates
HEALTHY, CONTROLS = (json.loads((ROOT / f"docs/results/{name}.json").read_text()) for name in ("seeds", "controls"))
STAGES = tuple(vars(GATES))
# The lineage that lacks a stage's signal: its labels are noise, or nothing it has learnt.
WITHOUT_SIGNAL = {
    "pretrain": "no update",
    "sft": "no update",
    **dict.fromkeys(("reward", "ppo", "dpo", "feedme"), "random labels"),
}


def test_three_whole_lineages_were_measured_on_the_test_split():
    assert len({row["seed"] for row in HEALTHY}) >= 3
    assert {row["figures"]["split"] for row in HEALTHY} == {"test"}
    assert len({row["figures"]["precision"] for row in HEALTHY}) == 1


@pytest.mark.parametrize("row", HEALTHY, ids=lambda row: f"seed {row['seed']}")
@pytest.mark.parametrize("stage", STAGES)
def test_every_whole_lineage_passes(stage, row):
    found = verdicts(GATES, row["figures"])[stage]
    assert found.passed, str(found)


@pytest.mark.parametrize("stage", STAGES)
def test_what_had_no_signal_does_not(stage):
    lost = [row for row in CONTROLS if row["variant"] == WITHOUT_SIGNAL[stage]]
    assert lost
    for row in lost:
        assert not verdicts(GATES, row["figures"])[stage].passed


@pytest.mark.parametrize("stage", STAGES)
def test_what_was_never_updated_does_not(stage):
    for row in CONTROLS:
        if row["variant"] == "no update":
            assert not verdicts(GATES, row["figures"])[stage].passed
