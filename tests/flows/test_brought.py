"""A user's own preferences, through the whole road: what judges them, and what nobody can judge."""

import json
import random

import pytest

from tests.flows.repository import WORDS, make_repository

pytestmark = pytest.mark.slow


def write_preferences(path, count=400):
    """People who like `nice` and dislike `sea`, as rows with `prompt`, `chosen` and `rejected`."""
    draw = random.Random(1)
    with path.open("w") as out:
        for _ in range(count):
            prompt, rest = (" ".join(draw.choices(WORDS, k=4)) for _ in range(2))
            out.write(json.dumps({"prompt": prompt, "chosen": f"nice {rest}", "rejected": f"sea {rest}"}) + "\n")


def test_peoples_preferences_are_judged_by_people(tmp_path):
    repository = make_repository(tmp_path)
    write_preferences(tmp_path / "raw" / "preferences.jsonl")
    repository.set(compare__labeler={"kind": "file"})
    repository.run("python", "-m", "flows.lineage", "--until", "ingest")
    repository.dvc("repro")
    metrics = json.loads((tmp_path / "artifacts/evaluate/metrics.json").read_text())
    assert metrics["referees"] == ["judge", "typicality"]
    assert {"gold", "share_of_ceiling"} <= metrics["left_out"].keys()
    assert 0 <= metrics["ppo"]["judge_win_rate_low"] <= metrics["ppo"]["judge_win_rate"] <= 1
    assert "gold_win_rate" not in metrics["ppo"] and "label_ceiling" not in metrics["reward"]
    # Half of what could train is the judge's alone.
    counts = json.loads((tmp_path / "artifacts/compare/metrics.json").read_text())
    assert counts["judge"]["prompts"] == pytest.approx(counts["train"]["prompts"], rel=0.4)
    report = (tmp_path / "artifacts/evaluate/report.md").read_text()
    assert "wins over sft by judge" in report and "not judged: gold" in report
    assert "gold_win_rate_low is missing" not in report
