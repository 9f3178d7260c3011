"""What a person sees of a lineage and its versions in MLflow, and how they are named."""

import json

import pytest

from components import provenance
from components.mlflow_store import connect
from components.pages import version_page
from tests.components.stores import PIPELINE, TREE, judge, lineage, register


def test_a_flow_in_which_nothing_ran_adds_no_lineage(tmp_path, work):
    work(tmp_path)
    with lineage(tmp_path) as parent:
        parent.link("sft", "cached")
    with lineage(tmp_path) as parent:
        parent.start()  # DVC had called it stale, and found its outputs unchanged
        parent.link("sft", "cached")
    client, experiment = connect()
    assert not client.search_runs([experiment])


def test_the_lineage_shows_headlines_verdicts_and_what_was_asked_for(tmp_path, work, monkeypatch):
    work(tmp_path)
    register(tmp_path, monkeypatch)
    figures = {
        "precision": "bf16-mixed",
        "pretrain": {"bits_per_byte": 1.5},
        "ppo": {"gold_win_rate": 0.8, "kl": 3.0, "gold_score": 2.0},
    }
    with lineage(tmp_path) as parent:
        monkeypatch.setenv("GPTLINEAGE_PARENT_RUN", parent.start())
        judge(tmp_path, ["ended_share 0.2 is below 0.8"])
        (tmp_path / "artifacts/evaluate/metrics.json").write_text(json.dumps(figures))
        (tmp_path / "artifacts/evaluate/report.html").write_text("report")
        parent.link("sft", "cached")
    client, experiment = connect()
    run = client.get_run(parent.run_id)
    assert run.info.run_name == "default"
    assert run.data.metrics == {
        "pretrain/bits_per_byte": 1.5, "ppo/gold_win_rate": 0.8, "ppo/kl": 3.0, "gate/sft": 0.0,
    }  # fmt: skip
    assert run.data.tags["precision"] == "bf16-mixed"
    assert run.data.tags["gate.sft"] == "ended_share 0.2 is below 0.8"
    assert run.data.tags["gates"] == "closed: sft"
    assert run.data.tags["mlflow.source.name"] == "python -m flows.lineage"
    page = run.data.tags["mlflow.note.content"]
    for words in ("| pretrain, bits per byte of plain text | 1.5 |", "python -m flows.lineage", "models:/gpt-sft/1"):
        assert words in page
    assert "report.html" in {item.path for item in client.list_artifacts(parent.run_id)}
    tags = client.get_experiment(experiment).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    columns = json.loads(json.loads(tags["mlflow.sharedViewState.headlines"])["state"])["selectedColumns"]
    assert {"metrics.`pretrain/bits_per_byte`", "metrics.`ppo/gold_win_rate`", "tags.`gates`"} <= set(columns)


def test_a_version_tells_what_it_was_made_of(tmp_path, work, monkeypatch):
    work(tmp_path)
    register(tmp_path, monkeypatch)
    judge(tmp_path, [])
    version = connect()[0].get_model_version("gpt-sft", "1")
    # sha256 of b"weights", from sha256sum
    assert version.tags["weights.sha256"] == "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"
    for words in (version.tags["weights.sha256"], "passed", "32-true", "torch==", "sft.ended_share at least 0.8"):
        assert words in version.description
    assert version.description == version_page("gpt-sft", "1", version.tags)


@pytest.mark.parametrize(
    ("preset", "overrides", "name"),
    [
        ("default", {}, "default"),
        ("smoke", {}, "smoke"),
        ("default", {"ppo.kl_coef": 0.2, "seed": 7}, "ppo.kl_coef=0.2 · seed 7"),
        ("smoke", {"a.b": 1, "a.c": 2, "a.d": 3, "a.e": 4}, "smoke · a.b=1 · a.c=2 · a.d=3 · and 1 more"),
    ],
)
def test_a_lineage_is_named_by_what_was_asked_for(tmp_path, work, preset, overrides, name):
    work(tmp_path)
    assert provenance.name_of(preset, overrides, TREE, PIPELINE) == name


def test_equal_parameters_are_spelled_alike_whatever_their_order():
    one = {"a": {"x": 1, "y": [{"metric": "m", "minimum": 1.0}]}, "presets": {"p": {}}}
    two = {"a": {"y": [{"minimum": 1, "metric": "m"}], "x": 1.0}}
    assert provenance.resolved(one) == provenance.resolved(two) == {"a.x": "1", "a.y": "[{metric: m, minimum: 1}]"}
