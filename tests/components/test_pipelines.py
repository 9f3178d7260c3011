"""A pipeline's places and its parameter file: nodes of one stage, what they share, and what is refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from components import params as parameters
from components.pipelines import PipelineError, open_pipeline
from components.provenance import label_tags
from components.sections.values import merged
from tests.contracts.imports import ROOT

TWICE = """
from components.stage import Pipeline, node
PIPELINE = Pipeline(
    node("prepare", data="./pipelines/own/data"),
    node("pretrain", tokenizer="prepare/tokenizer.json", tokens="prepare/tokens"),
    node("sft", base="pretrain/model", demonstrations="prepare/demonstrations"),
    node("sft-2", stage="sft", base="sft/model", demonstrations="prepare/demonstrations"),
)
"""


@pytest.fixture
def root(tmp_path):
    """A repository with a pipeline of its own data, in which a stage stands twice."""
    (tmp_path / "components").symlink_to(ROOT / "components")
    folder = tmp_path / "pipelines/own"
    folder.mkdir(parents=True)
    (folder / "pipeline.py").write_text(TWICE)
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    names = ("seed", "ingest", "prepare", "limits", "model", "compute", "pretrain", "sft")
    own = {name: tree[name] for name in names} | {"sft-2": {}, "presets": {"default": {}}}
    (folder / "params.yaml").write_text(yaml.safe_dump(own, sort_keys=False))
    return tmp_path


@pytest.fixture
def own(root):
    return open_pipeline("own", root)


@pytest.fixture
def tree(root, own):
    return parameters.read_tree(root / own.params_file)


def said(tree, pipeline):
    with pytest.raises(parameters.ParamsError) as caught:
        parameters.check(tree, pipeline, source="test")
    return str(caught.value)


def test_places_of_a_pipeline_that_is_not_the_default(own):
    assert own.params_file == Path("pipelines/own/params.yaml") and own.graph_file == Path("pipelines/own/dvc.yaml")
    assert own.inputs("sft-2")["base"] == {"sft": Path("artifacts/own/sft/model")}
    assert (own.data, own.pointer) == (Path("pipelines/own/data"), Path("pipelines/own/data.dvc"))
    assert own.address("sft-2") == "pipelines/own/dvc.yaml:sft-2" and own.model_name("sft-2") == "own-sft-2"
    assert own.ancestors("sft-2") == ["prepare", "pretrain", "sft"] and own.parents("sft-2") == ["sft"]
    default = open_pipeline(root=ROOT)
    assert default.address("sft") == "sft" and default.model_name("sft") == "gpt-sft"


def test_a_lineage_is_of_the_newest_round_whose_labels_its_nodes_read(tmp_path):
    rounds = open_pipeline("rounds", ROOT)
    assert label_tags(rounds, ["sft"], tmp_path) == label_tags(open_pipeline(root=ROOT), ["sft"], tmp_path) == {}
    nodes = ["sft", "gather-1", "gather-3", "ppo-3"]
    assert label_tags(rounds, nodes, tmp_path) == {"round": "3", "labels": "unversioned"}
    (tmp_path / "labels.dvc").write_text("outs:\n- md5: 0f1e.dir\n  path: labels\n")
    assert label_tags(rounds, nodes[:2], tmp_path) == {"round": "1", "labels": "0f1e.dir"}


def test_a_nodes_section_says_what_differs_from_its_stages(tree, own):
    tree["sft-2"] = {"max_steps": 99, "optimizer": {"learning_rate": 0.5}, "weights": {"kind": "lora", "rank": 2,
                                                                                      "alpha": 1.0}}  # fmt: skip
    first, second = (parameters.check(tree, own, source="test").sections[name] for name in ("sft", "sft-2"))
    assert (second.max_steps, second.optimizer.learning_rate, second.weights.rank) == (99, 0.5, 2)
    assert replace(second, max_steps=first.max_steps, optimizer=first.optimizer, weights=first.weights) == first
    assert own.param_keys("sft-2") == ["compute", "limits.max_demonstration_tokens", "seed", "sft", "sft-2"]


def test_a_part_of_another_kind_takes_the_place_of_the_whole_part():
    tree = {"a": {"x": {"kind": "p", "only_p": 1}, "y": 1}, "b": {"x": {"kind": "q"}}, "c": {"x": {"only_p": 2}}}
    assert merged(tree, ["a", "b"]) == {"x": {"kind": "q"}, "y": 1}
    assert merged(tree, ["a", "c"]) == {"x": {"kind": "p", "only_p": 2}, "y": 1}


def test_an_override_reaches_a_key_that_a_nodes_own_section_leaves_to_its_stages(tree, own):
    changed = parameters.override(tree, {"sft-2.optimizer.learning_rate": 0.5}, own)
    assert changed["sft-2"] == {"optimizer": {"learning_rate": 0.5}} and tree["sft-2"] == {}
    with pytest.raises(parameters.ParamsError, match=r"no such parameter: sft-2.nothing, sft.nothing"):
        parameters.override(tree, {"sft-2.nothing": 1, "sft.nothing": 1}, own)


def test_what_nobody_reads_and_what_is_missing_is_listed_together(tree, own):
    del tree["sft-2"]
    tree["ppo"] = {"kl_coef": 1}
    tree["generation"] = {}
    found = said(tree, own)
    assert "sft-2: the section is missing; `sft-2: {}` has all values of sft" in found
    assert "ppo: nothing in this pipeline reads it" in found and "generation: nothing in this pipeline" in found
    assert "3 problem(s)" in found


def test_a_gate_is_for_a_model_of_the_pipeline_and_a_task_for_what_its_node_is_fed():
    default = open_pipeline(root=ROOT)
    tree = parameters.read_tree(ROOT / "params.yaml")
    bounds = {"gates": {"prepare": [{"metric": "sft.ended_share", "minimum": 0.5}]}}
    assert "gates.prepare: no node of this pipeline makes a model" in said(tree | bounds, default)
    node = default.nodes["evaluate"]
    starved = replace(node, inputs={name: fed for name, fed in node.inputs.items() if name != "reward"})
    less = replace(default, nodes={**default.nodes, "evaluate": starved})
    assert "evaluate.tasks: pair_accuracy needs reward, which nothing feeds to the node evaluate" in said(tree, less)


def test_an_evaluation_may_lack_what_its_tasks_do_not_measure_with():
    default, tree = open_pipeline(root=ROOT), parameters.read_tree(ROOT / "params.yaml")
    node = default.nodes["evaluate"]

    def refused(**inputs):
        fed = {name: value for name, value in {**node.inputs, **inputs}.items() if value}
        return said(tree, replace(default, nodes={**default.nodes, "evaluate": replace(node, inputs=fed)}))

    assert "evaluate: what a labeler likes is measured by demonstrations" in refused(demonstrations=())
    assert "evaluate.tasks: text needs tokens" in refused(tokens=())
    assert "evaluate: prompts, tokens are fed by more than one node" in refused(
        prompts=("prepare/prompts", "./other"), tokens=("prepare/tokens", "./more")
    )
    parameters.check(
        parameters.read_tree(ROOT / "pipelines/adder/params.yaml"), open_pipeline("adder", ROOT), source=""
    )


def test_what_a_node_is_fed_and_what_its_values_ask_for_agree_before_anything_starts():
    """All at once, from the parameters alone: a tokenizer and a network are new or of the model that feeds the node."""
    default, tree = open_pipeline(root=ROOT), parameters.read_tree(ROOT / "params.yaml")
    tree["prepare"]["vocab_size"], tree["model"] = 0, {"kind": "fed"}
    found = said(tree, default)
    assert "prepare.vocab_size is 0, and no model feeds prepare as `base`" in found
    assert "model.kind is fed, and nothing feeds a model `base` to pretrain" in found and "2 problem(s)" in found
    prepare, pretrain = (
        replace(default.nodes[n], inputs={**default.nodes[n].inputs, "base": ("sft/model",)})
        for n in ("prepare", "pretrain")
    )
    continued = replace(default, nodes={**default.nodes, "prepare": prepare, "pretrain": pretrain})
    parameters.check(tree, continued, source="params.yaml")
    found = said(parameters.read_tree(ROOT / "params.yaml"), continued)
    assert "the model that feeds prepare as `base` brings a tokenizer: 0 takes it" in found
    assert "model.kind asks for a new network, and a model feeds pretrain as `base`" in found


def test_two_tasks_do_not_make_the_same_figure():
    default, tree = open_pipeline(root=ROOT), parameters.read_tree(ROOT / "params.yaml")
    first, second = ({"kind": "cloze", "name": name, "file": "items.jsonl"} for name in ("one", "two"))
    usual = tree["evaluate"]["tasks"]
    tree["evaluate"]["tasks"] = [*usual, first, second]
    parameters.check(tree, default, source="params.yaml")
    tree["evaluate"]["tasks"] = [*usual, first, second | {"name": "one"}]
    assert "evaluate.tasks: two of them make the figure dpo.one.accuracy: give each a" in said(tree, default)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("PIPELINE =", "OTHER ="), "declares no PIPELINE"),
        (('stage="sft"', 'stage="sfft"'), "node sft-2: no stage 'sfft'"),
        (('base="sft/model"', 'base="sft/modell"'), "sft-2: sft/modell: sft makes no 'modell'"),
    ],
)
def test_a_declaration_that_cannot_be_opened_is_a_sentence(root, change, words):
    path = root / "pipelines/own/pipeline.py"
    path.write_text(TWICE.replace(*change))
    with pytest.raises(PipelineError, match=words.replace("(", r"\(")):
        open_pipeline("own", root)


def test_a_pipeline_that_would_write_over_another_is_refused(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for name, words in (("own", "pipelines/own is another one"), ("fine", None)):
        (elsewhere / name).mkdir()
        (elsewhere / name / "pipeline.py").write_text(TWICE)
        if words is None:
            assert open_pipeline(elsewhere / name, root).asked_by == str(elsewhere / name)
            continue
        with pytest.raises(PipelineError, match=words):
            open_pipeline(elsewhere / name, root)
    (root / "pipelines/default").mkdir()
    (root / "pipelines/default/pipeline.py").write_text(TWICE)
    (root / "pipelines/sft").mkdir()
    (root / "pipelines/sft/pipeline.py").write_text(TWICE)
    with pytest.raises(PipelineError, match="artifacts/sft is where the default pipeline's node"):
        open_pipeline("sft", root)


def test_an_evaluation_compares_models_that_it_has_and_all_problems_come_at_once():
    default = open_pipeline(root=ROOT)
    node = default.nodes["evaluate"]
    strange = replace(node, inputs=node.inputs | {"models": ("sft/model",)})
    less = replace(default, nodes={**default.nodes, "evaluate": strange})
    tree = parameters.read_tree(ROOT / "params.yaml")
    tree["sft"]["max_steps"] = 0
    found = said(tree, less)
    assert "evaluate: plain has pretrain, which is not among its models" in found
    assert "sft.max_steps: " in found
