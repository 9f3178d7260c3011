"""What the page of lineages is told, of stages that registered models in a store of their own."""

from components import ancestry
from tests.components.stores import judge, lineage, register
from tests.contracts.imports import ROOT


def test_versions_have_parents_verdicts_and_the_figures_of_their_lineage(tmp_path, work, monkeypatch):
    work(tmp_path)
    register(tmp_path, monkeypatch, "pretrain")
    with lineage(tmp_path) as parent:
        monkeypatch.setenv("GPTLINEAGE_PARENT_RUN", parent.start())
        register(tmp_path, monkeypatch, "sft")
        judge(tmp_path, ["ended_share 0.2 is below 0.8"])
        (tmp_path / "artifacts/evaluate/metrics.json").write_text('{"sft": {"gold_score": 2.0}, "ppo": {"kl": 3.0}}')
        parent.link("sft", "ran")
    _, versions, runs = ancestry.registry()
    (sft,) = [each for each in versions if each.name == "gpt-sft"]
    assert sft.id == "gpt-sft/1" and (sft.pipeline, sft.node) == ("default", "sft")
    assert sft.parents == ("gpt-pretrain/1",) and "candidate" in sft.aliases
    assert "ended_share" in (sft.gate or "") and "0.8" in sft.bounds and len(sft.weights_sha256) == 64
    assert all(name.startswith("sft/") for name in sft.figures)
    lines = [each for each in runs if "gpt-sft/1" in each.models]
    assert lines and "closed" in lines[0].gates and lines[0].pipeline == "default"


def test_pipelines_are_those_declared():
    steps = {step.name: step for step in ancestry.pipelines(ROOT)["default"]}
    assert steps["ppo"].model == "gpt-ppo" and {"sft", "reward"} <= set(steps["ppo"].makers)
    assert steps["compare"].model is None
    assert "gpt-reward" in ancestry.scorers(ROOT) and "gpt-ppo" not in ancestry.scorers(ROOT)
