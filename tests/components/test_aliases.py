"""Aliases point at what lies in the workspace: real MLflow on SQLite, real folders."""

import shutil

from components.lineage_run import point_aliases
from components.mlflow_store import connect
from tests.components.stores import PIPELINE, judge, lineage, pointed, register


def test_a_variant_has_an_alias_of_its_own_and_moves_neither_candidate_nor_champion(tmp_path, work, monkeypatch):
    register(work(tmp_path), monkeypatch)
    variant = work(tmp_path / ".lineage/variants/smoke-1a2b", root=tmp_path)
    register(variant, monkeypatch)
    judge(variant, [])
    assert (pointed("candidate"), pointed("candidate-smoke-1a2b"), pointed("champion")) == ("1", "2", None)


def test_a_variant_that_ends_early_gives_its_alias_to_no_model_it_has_not_reached(tmp_path, work, monkeypatch):
    register(work(tmp_path), monkeypatch)
    variant = work(tmp_path / ".lineage/variants/early", root=tmp_path)
    shutil.copytree(tmp_path / "artifacts", variant / "artifacts")  # what DVC restores there is the repository's
    with lineage(variant) as parent:
        parent.link("prepare", "cached")
    assert pointed("candidate-early") is None
    with lineage(variant) as parent:
        parent.link("sft", "cached")
    assert pointed("candidate-early") == "1"


def test_an_experiment_of_dvc_moves_neither_candidate_nor_champion(tmp_path, work, monkeypatch):
    register(work(tmp_path), monkeypatch)
    monkeypatch.setenv("DVC_EXP_NAME", "odd name")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    register(tmp_path, monkeypatch)
    judge(tmp_path, [])
    assert (pointed("candidate"), pointed("candidate-odd-name"), pointed("champion")) == ("1", "2", None)


def test_champion_moves_only_through_an_open_gate(tmp_path, work, monkeypatch):
    work(tmp_path)
    register(tmp_path, monkeypatch)
    judge(tmp_path, [])
    register(tmp_path, monkeypatch)
    judge(tmp_path, ["ended_share 0.2 is below 0.8"])
    assert (pointed("candidate"), pointed("champion")) == ("2", "1")
    tags = connect()[0].get_model_version("gpt-sft", "2").tags
    assert tags["gate"] == "ended_share 0.2 is below 0.8"
    assert tags["gate.bounds"] == "sft.ended_share at least 0.8"


def test_a_variant_does_not_judge_anew_what_it_shares_with_the_repository(tmp_path, work, monkeypatch):
    register(work(tmp_path), monkeypatch)
    judge(tmp_path, [])
    variant = work(tmp_path / ".lineage/variants/x", root=tmp_path)
    shutil.copytree(tmp_path / "artifacts", variant / "artifacts")
    judge(variant, ["too short"])
    assert connect()[0].get_model_version("gpt-sft", "1").tags["gate"] == "passed"


def test_a_version_number_of_another_store_promotes_nothing(tmp_path, work, monkeypatch, caplog):
    register(work(tmp_path / "mine"), monkeypatch)
    register(work(tmp_path / "theirs"), monkeypatch)
    shutil.copytree(tmp_path / "theirs/artifacts", tmp_path / "mine/artifacts", dirs_exist_ok=True)
    work(tmp_path / "mine")
    judge(tmp_path / "mine", [])
    assert pointed("champion") is None
    assert "nothing is promoted" in caplog.text


def test_a_restored_state_brings_its_aliases_back(tmp_path, work, monkeypatch):
    work(tmp_path)
    for _ in range(2):
        register(tmp_path, monkeypatch)
        judge(tmp_path, [])
        shutil.copytree(tmp_path / "artifacts", tmp_path / f"saved-{pointed('candidate')}")
    assert (pointed("candidate"), pointed("champion")) == ("2", "2")
    shutil.rmtree(tmp_path / "artifacts")
    shutil.copytree(tmp_path / "saved-1", tmp_path / "artifacts")  # as `dvc checkout` does
    with lineage(tmp_path) as parent:
        for stage in ("sft", "evaluate"):
            parent.link(stage, "cached")
    assert (pointed("candidate"), pointed("champion")) == ("1", "1")


def test_a_flow_with_nothing_to_do_leaves_a_champion_that_somebody_chose(tmp_path, work, monkeypatch):
    work(tmp_path)
    for _ in range(2):
        register(tmp_path, monkeypatch)
        judge(tmp_path, [])
    client, _ = connect()
    client.set_registered_model_alias("gpt-sft", "champion", "1")
    with lineage(tmp_path) as parent:
        for stage in ("sft", "evaluate"):
            parent.link(stage, "cached")
    assert (pointed("candidate"), pointed("champion")) == ("2", "1")


def test_a_verdict_on_another_model_does_not_count(tmp_path, work, monkeypatch):
    work(tmp_path)
    register(tmp_path, monkeypatch)
    shutil.copytree(tmp_path / "artifacts", tmp_path / "first")
    judge(tmp_path, ["too short"])
    register(tmp_path, monkeypatch)
    judge(tmp_path, [])
    shutil.copy(tmp_path / "first/sft/run.json", tmp_path / "artifacts/sft/run.json")  # restored; evaluate runs next
    point_aliases(connect()[0], tmp_path / "artifacts", "candidate", PIPELINE)
    assert (pointed("candidate"), pointed("champion")) == ("1", "2")
