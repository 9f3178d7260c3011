"""The gates' bounds hold for every whole lineage that was measured, and not for one that lacked a stage's signal.

The figures are those of `python -m flows.study seeds` and `python -m flows.study controls` (docs/results).
"""

import json

import pytest

from components.gates import verdicts
from components.params import load
from components.pipelines import open_pipeline
from tests.contracts.imports import ROOT

GATES = load(open_pipeline(root=ROOT), ROOT).shared["gates"]
STAGES = tuple(GATES)
LINEAGES, CONTROLS = (json.loads((ROOT / f"docs/results/{name}.json").read_text()) for name in ("seeds", "controls"))
# What each control takes away: labels say nothing to those that learn from comparisons; without updates nobody learns.
DEPRIVED = {"random labels": ("reward", "ppo", "dpo", "feedme"), "no update": STAGES}


def test_whole_lineages_were_measured_on_the_test_split():
    assert len({row["seed"] for row in LINEAGES}) >= 3
    assert {row["variant"] for row in CONTROLS} == DEPRIVED.keys()
    for rows in (LINEAGES, CONTROLS):
        assert {row["figures"]["split"] for row in rows} == {"test"}
        assert len({row["figures"]["precision"] for row in rows}) == 1


@pytest.mark.parametrize("row", LINEAGES, ids=lambda row: f"seed {row['seed']}")
@pytest.mark.parametrize("stage", STAGES)
def test_every_whole_lineage_passes(stage, row):
    found = verdicts(GATES, row["figures"])[stage]
    assert found.passed, str(found)


@pytest.mark.parametrize("row", CONTROLS, ids=lambda row: f"{row['variant']}, seed {row['seed']}")
def test_a_lineage_without_a_stages_signal_does_not(row):
    found = verdicts(GATES, row["figures"])
    assert [stage for stage in DEPRIVED[row["variant"]] if found[stage].passed] == []
