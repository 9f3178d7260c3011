"""The short form of `make chaos`: two stages, killed at random."""

import pytest

from tests.chaos import run

pytestmark = pytest.mark.slow


def test_killed_stages_end_with_the_same_bits(tmp_path):
    outcomes = run(tmp_path, ["pretrain", "ppo"], kills=4, seed=1)
    assert sum(len(outcome.kills) for outcome in outcomes.values()) >= 2
    assert any(outcome.resumed_from for outcome in outcomes.values())
    assert {case: outcome.differences for case, outcome in outcomes.items()} == {"pretrain": [], "ppo": []}
