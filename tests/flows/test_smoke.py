"""The smoke preset on the project's own data and parameters, as a newcomer runs it."""

import json

import pytest

from tests.flows.repository import make_repository

pytestmark = pytest.mark.slow


def test_the_smoke_preset_goes_the_whole_road_on_the_default_data(tmp_path):
    repository = make_repository(tmp_path, tiny=False)
    output = repository.flow("--preset", "smoke")
    assert "Report:" in output
    assert repository.run("git", "status", "--porcelain") == ""  # the data are the version that data.dvc names
    (report,) = tmp_path.glob(".lineage/variants/smoke-*/artifacts/evaluate/metrics.json")
    metrics = json.loads(report.read_text())
    assert {"pretrain", "sft", "reward", "ppo", "dpo", "feedme"} <= metrics.keys()
