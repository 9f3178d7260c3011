"""Several evaluating nodes in a pipeline, without training: whose figures count, and what makes which of them stale."""

import json
import shutil

import pytest
import yaml
from dvc.repo import Repo

from components import params as parameters
from components.evaluation.report import alignment_table
from components.figures import of_pipeline
from components.lineage import read_evaluation
from components.pipelines import open_pipeline
from components.work import Work
from flows.graph import judge
from flows.render import render
from flows.results import figures, gates
from flows.workspace import Workspace
from tests.contracts.imports import ROOT

# Two ways to align, each judged beside what is its own to compare with; sft and dpo are measured by both nodes.
PIPELINE = """
from components.stage import Pipeline, node
PREPARED, COMPARED = "./artifacts/prepare", "./artifacts/compare"
HELD_OUT = {name: (f"{PREPARED}/{name}",) for name in ("prompts", "tokens", "demonstrations")}
PIPELINE = Pipeline(
    node("pretrain", tokenizer=f"{PREPARED}/tokenizer.json", tokens=f"{PREPARED}/tokens"),
    node("sft", base="pretrain/model", demonstrations=f"{PREPARED}/demonstrations"),
    node("dpo", policy="sft/model", comparisons=f"{COMPARED}/train.jsonl"),
    node("feedme", policy="sft/model", train=f"{COMPARED}/train.jsonl", validation=f"{COMPARED}/validation.jsonl"),
    node("first", stage="evaluate", models=("pretrain/model", "sft/model", "dpo/model"), plain=("pretrain/model",),
         reference=("sft/model",), figures=("sft/metrics.json",), curves=("dpo/history.csv",), **HELD_OUT),
    node("second", stage="evaluate", models=("sft/model", "dpo/model", "feedme/model"), reference=("sft/model",),
         curves=("feedme/history.csv",), **HELD_OUT),
)
"""
SECTIONS = ("seed", "limits", "model", "compute", "pretrain", "sft", "dpo", "feedme", "generation", "evaluate")
LOW = "typicality_win_rate_low"
FIGURES = {
    "first": {"sft": {"ended_share": 0.9, "validation_loss_ratio": 0.5}, "dpo": {"typicality_win_rate": 0.7, LOW: 0.6},
              "gates": {"sft": True, "dpo": True}, "left_out": {}},
    "second": {"sft": {"ended_share": 0.1}, "dpo": {"typicality_win_rate": 0.2, LOW: 0.1},
               "feedme": {"typicality_win_rate": 0.3, LOW: 0.2}, "gates": {"feedme": False}, "left_out": {}},
}  # fmt: skip


def values():
    """The pipeline's parameters."""
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    own = {name: tree[name] for name in SECTIONS} | {"first": {}, "presets": {"default": {}}}
    own["evaluate"]["tasks"] = [{"kind": kind} for kind in ("replies", "text", "fine_tuning", "win_rate")]
    own["second"] = {"tasks": [{"kind": "replies"}, {"kind": "win_rate"}]}
    win = [{"metric": f"{node}.{LOW}", "minimum": 0.35} for node in ("dpo", "feedme")]
    loss = {"metric": "sft.validation_loss_ratio", "maximum": 0.9}
    own["gates"] = {"sft": [{"metric": "sft.ended_share", "minimum": 0.75}, loss], "dpo": win[:1], "feedme": win[1:]}
    return own


@pytest.fixture
def root(tmp_path):
    """The code, and the pipeline beside the default one."""
    for name in ("components", "flows", "pipelines"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "pipelines/pair").mkdir()
    (tmp_path / "pipelines/pair/pipeline.py").write_text(PIPELINE)
    (tmp_path / "pipelines/pair/params.yaml").write_text(yaml.safe_dump(values()))
    return tmp_path


@pytest.fixture
def pair(root):
    return open_pipeline("pair", root)


@pytest.fixture
def workspace(root, pair):
    """Where both nodes have measured."""
    for node, found in FIGURES.items():
        (root / pair.artifacts / node).mkdir(parents=True)
        (root / pair.artifacts / node / "metrics.json").write_text(json.dumps(found))
    return Workspace(root, root, values(), pair)


def test_each_judges_the_models_that_none_before_it_was_fed(pair):
    assert pair.judges == ["first", "second"]
    assert pair.judged("first") == ["pretrain", "sft", "dpo"] and pair.judged("second") == ["feedme"]
    assert pair.parents("feedme") == ["sft"] and pair.parents("second") == []
    bounds = parameters.check(values(), pair, source="test").shared["gates"]
    for name, own in (("first", {"sft", "dpo"}), ("second", {"feedme"})):
        work = Work(name, pair, None, {"gates": bounds}, pair.artifacts, pair.artifacts, pair.artifacts, None)
        assert work.gates.keys() == own


def test_a_bound_is_on_what_the_judge_of_its_model_measures(pair):
    tree = values()
    tree["gates"]["feedme"] = [{"metric": "feedme.validation_loss_ratio", "maximum": 1.0}]
    with pytest.raises(parameters.ParamsError, match=r"gates\.feedme\.0: second makes no figure"):
        parameters.check(tree, pair, source="test")
    tree["gates"]["feedme"] = [{"metric": "sft.validation_loss_ratio", "maximum": 1.0}]  # of the other node
    with pytest.raises(parameters.ParamsError, match=r"gates\.feedme\.0: second makes no figure"):
        parameters.check(tree, pair, source="test")


def test_a_gate_of_a_model_that_nothing_evaluates_is_said(root):
    path = root / "pipelines/pair/pipeline.py"
    path.write_text(PIPELINE.replace(', "feedme/model"', ""))
    with pytest.raises(parameters.ParamsError, match=r"gates\.feedme: no evaluating node is fed its model"):
        parameters.check(values(), open_pipeline("pair", root), source="test")


def test_a_lineage_is_known_by_each_figure_once(pair):
    known = of_pipeline(pair, parameters.sections_of(values(), pair, pair.judges))
    assert len({line.figure for line in known}) == len(known)
    words = {line.figure: line.words for line in known}
    assert words["dpo.typicality_win_rate"] == "dpo, wins over sft by typicality"
    assert words["feedme.typicality_win_rate"] == "feedme, wins over sft by typicality"
    assert "sft.validation_loss_ratio" in words


def test_figures_and_verdicts_are_those_of_the_judge(workspace):
    found = read_evaluation(workspace.pipeline.judges, workspace.artifacts)
    assert found["sft"] == FIGURES["first"]["sft"] and found["dpo"][LOW] == 0.6
    assert found["gates"] == {"sft": True, "dpo": True, "feedme": False}
    shown = dict(figures(found, workspace))
    assert shown["dpo, wins over sft by typicality"] == "70.0%"
    assert shown["feedme, wins over sft by typicality"] == "30.0%"
    assert gates(workspace) == {
        "sft": "passed", "dpo": "passed", "feedme": f"closed: feedme.{LOW} 0.2 is below 0.35",
    }  # fmt: skip


def test_a_report_compares_the_models_of_its_node(pair):
    win = {f"typicality_win_rate{bound}": 0.5 for bound in ("", "_low", "_high")}
    for node, compared in (("first", ["dpo"]), ("second", ["dpo", "feedme"])):
        models = pair.fed(node)["models"]
        metrics = {"referees": ["typicality"], "prompts": 9} | {
            name: win if name in compared else {} for name in models
        }
        assert alignment_table(metrics, models, "sft")[""].tolist() == compared


@pytest.fixture
def recorded(root, pair, monkeypatch):
    """A repository whose dvc.lock has everything as it is, though nothing has run."""
    monkeypatch.chdir(root)
    (root / pair.graph_file).write_text(render(pair, values(), root))
    graph = yaml.safe_load((root / pair.graph_file).read_text())["stages"]
    paths = {path for entry in graph.values() for kind in ("deps", "outs", "metrics", "plots")
             for each in entry.get(kind, ()) for path in ([each] if isinstance(each, str) else each)}  # fmt: skip
    for path in sorted(paths, key=len, reverse=True):  # what lies in a folder before the folder
        if not (root / path).exists():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(path)
    with Repo.init(str(root), no_scm=True) as repo:
        repo.commit(str(pair.graph_file), force=True)
    return root


def commit(pair, node):
    """Have DVC record what it does after a node has run."""
    with Repo() as repo:
        repo.commit(pair.address(node), force=True)


def test_a_change_of_one_model_leaves_the_other_evaluation_up_to_date(recorded, pair):
    assert not judge(recorded, pair.graph_file).changed
    tree = values()
    tree["feedme"]["max_steps"] += 1
    (recorded / pair.params_file).write_text(yaml.safe_dump(tree))
    found = judge(recorded, pair.graph_file)
    assert set(found.changed) == {"feedme"} and found.stale == {"feedme", "second"}
    (recorded / pair.artifacts / "feedme/model").write_text("another")
    commit(pair, "feedme")
    assert set(judge(recorded, pair.graph_file).changed) == {"second"}
    commit(pair, "second")
    tree["dpo"]["max_steps"] += 1
    tree["second"]["num_prompts"] = 7
    (recorded / pair.params_file).write_text(yaml.safe_dump(tree))
    found = judge(recorded, pair.graph_file)
    assert set(found.changed) == {"dpo", "second"} and found.stale == {"dpo", "first", "second"}
