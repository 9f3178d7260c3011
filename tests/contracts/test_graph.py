"""dvc.yaml tells the truth: code, parameters and files that a stage uses are those it declares."""

import ast
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from dvc.stage.cache import _get_cache_hash
from dvc_data.hashfile.meta import Meta

from components import params as parameters
from components.lineage import flatten
from components.pipelines import names, open_pipeline
from components.sections.values import forms
from components.stage import Kind, Pipeline, Several, Stage, node
from components.stages.ingest import Ingest
from components.work import Work
from flows.render import code, deployments, diagram, render, with_diagram
from tests.contracts.imports import ROOT, modules

PIPELINE = open_pipeline(root=ROOT)
GRAPH = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PIPELINES = [open_pipeline(name, ROOT) for name in names(ROOT)]
SHARED = {"seed", "compute", "generation", "limits", "model", "gates"}


@pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda pipeline: pipeline.name)
def test_the_graph_is_what_the_declaration_says(pipeline):
    tree = parameters.read_tree(ROOT / pipeline.params_file)
    assert (ROOT / pipeline.graph_file).read_text() == render(pipeline, tree, ROOT), "python -m flows.render"


def test_the_deployments_are_what_the_declaration_says():
    text = (ROOT / "prefect.yaml").read_text()
    assert text == deployments(PIPELINES, text), "python -m flows.render"
    own = [each for each in yaml.safe_load(text)["deployments"] if each["name"].startswith("default")]
    assert {each.get("parameters", {}).get("until") for each in own} == {
        None, "ingest", *PIPELINE.nodes,
    }  # fmt: skip


def test_the_diagram_is_drawn_from_the_declaration():
    page = (ROOT / "ARCHITECTURE.md").read_text()
    assert page == with_diagram(page, diagram(PIPELINE)), "python -m flows.render"
    rows = dict(line.split(" <- ") for line in diagram(PIPELINE).splitlines())
    rows = {node.strip(): fed for node, fed in rows.items()}
    assert (rows["prepare"], rows["sft"], rows["ppo"]) == ("data", "pretrain", "reward")
    assert rows["evaluate"] == "ppo, dpo, feedme"


def test_a_stage_depends_on_the_code_it_runs_and_on_none_that_only_watches(tmp_path):
    types = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import components.unused"
    one = f"from components.data import two\nimport torch\n{types}"
    files = {"stages/one.py": one, "tracking.py": "", "unused.py": "",
             "data/two.py": "from components import tracking\ndef f():\n    import components.three", "three.py": "",
             "__init__.py": ""}  # fmt: skip
    for name, text in files.items():
        (tmp_path / "components" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "components" / name).write_text(text)
    found = code(Path("components/stages/one.py"), root=tmp_path)
    assert found == {"components/stages/one.py", "components/data/two.py", "components/three.py"}


def nothing(work):
    """What the stages of these tests do."""


MAKER = Stage(None, nothing, {"data": Kind.RECORDS}, {"model": Kind.LANGUAGE_MODEL, "rows": Kind.PROMPTS})
READER = Stage(None, nothing, {"model": Kind.LANGUAGE_MODEL}, {})
JUDGE = Stage(None, nothing, {"models": Several(Kind.LANGUAGE_MODEL)}, {})


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ({"model": "maker/model"}, None),
        ({"model": "maker/model/part"}, None),
        ({"model": "maker/rows"}, "maker/rows: a language model is read, this is a prompts"),
        ({"model": "maker/modell"}, "maker/modell: maker makes no 'modell'"),
        ({"model": "later/model"}, "later/model: no node before it is called 'later'"),
        ({}, "nothing feeds 'model'"),
        ({"model": "maker/model", "extra": "maker/rows"}, "reader reads no 'extra'"),
    ],
)
def test_what_does_not_fit_in_a_pipeline_is_named(inputs, problem):
    pipeline = Pipeline(node("maker", data="./data"), node("reader", **inputs))
    found = pipeline.problems({"maker": MAKER, "reader": READER})
    assert found == ([f"reader: {problem}"] if problem else [])


def test_a_stage_may_stand_in_a_pipeline_twice():
    pipeline = Pipeline(
        node("maker", data="./data"), *(node(f"reader-{n}", stage="reader", model="maker/model") for n in (1, 2))
    )
    assert pipeline.problems({"maker": MAKER, "reader-1": READER, "reader-2": READER}) == []
    with pytest.raises(ValueError, match="same name"):
        Pipeline(node("maker", data="./data"), node("maker", data="./data"))


@pytest.mark.parametrize(
    ("models", "problem"),
    [
        (("maker/model", "second/model"), None),
        ((), None),
        ("maker/model", "models is fed one artifact"),
        (("maker/model", "second/rows"), "second/rows: a language model is read, this is a prompts"),
    ],
)
def test_an_input_of_several_artifacts_is_fed_any_number_of_them(models, problem):
    makers = (node("maker", data="./data"), node("second", stage="maker", data="./data"))
    pipeline = Pipeline(*makers, node("judge", models=models))
    found = pipeline.problems({"maker": MAKER, "second": MAKER, "judge": JUDGE})
    assert found == ([f"judge: {problem}"] if problem else [])


@pytest.mark.parametrize("stage", GRAPH)
def test_inputs_that_a_stage_asks_for_are_those_it_declares(stage):
    """The names that stand in `work.read("...")`, in the stage's module and in those that only it runs."""
    others = {name for other in GRAPH if other != stage for name in files_of(other)}
    asked = {
        call.args[0].value
        for name in files_of(stage) - others
        for call in ast.walk(ast.parse((ROOT / name).read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
        and call.func.attr in {"read", "read_all"} and call.args and isinstance(call.args[0], ast.Constant)
    }  # fmt: skip
    assert asked and asked <= PIPELINE.stages[stage].reads.keys()


def files_of(stage):
    return {dep for dep in GRAPH[stage]["deps"] if dep.startswith("components/")}


HELP = """
import contextlib, io, runpy, sys
for arguments in ([], *([stage] for stage in sys.argv[1:])):
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        sys.argv = ["", *arguments, "--help"]
        runpy.run_module("components.stages", run_name="__main__")
    print(len(text.getvalue().splitlines()))
assert not {"torch", "mlflow", "lightning", "pandas"} & sys.modules.keys()
"""


def test_help_of_every_stage_comes_without_its_imports():
    command = [sys.executable, "-c", HELP, *GRAPH]
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    assert len(lines) == 1 + len(GRAPH) and all(int(number) > 8 for number in lines)


@pytest.mark.parametrize("stage", GRAPH)
def test_declared_parameters_exist(stage):
    leaves = dict(flatten(parameters.read_tree(ROOT / "params.yaml"), separator="."))
    for wanted in GRAPH[stage]["params"]:
        assert any(key == wanted or key.startswith(wanted + ".") for key in leaves), wanted


def parameters_read(tree):
    """(section, key) of what code reads of shared sections; the key is None where one is passed on as a whole."""
    parents = {child: found for found in ast.walk(tree) for child in ast.iter_child_nodes(found)}
    for found in ast.walk(tree):
        if isinstance(found, ast.Attribute) and found.attr in SHARED:
            parent = parents.get(found)
            if ast.unparse(found.value).endswith(("stage", "work")):
                yield found.attr, parent.attr if isinstance(parent, ast.Attribute) else None


@pytest.mark.parametrize("stage", GRAPH)
def test_parameters_that_the_code_reads_are_declared(stage):
    declared = set(GRAPH[stage]["params"])
    found = [
        (name, section, leaf)
        for name in files_of(stage) - {"components/work.py"}
        for section, leaf in parameters_read(ast.parse((ROOT / name).read_text()))
    ]
    # What several stages run may read more than one of them needs: `_Declared` refuses it when it is asked for.
    common = {name for name in files_of(stage) if sum(name in files_of(other) for other in GRAPH) > 1}
    for name, section, leaf in found:
        whole = section in declared or name in common
        assert whole or (leaf and f"{section}.{leaf}" in declared), f"{name} reads {section}.{leaf or '*'}"
    assert {section for _, section, _ in found} >= {key.partition(".")[0] for key in declared} & SHARED


def test_a_stage_cannot_read_of_a_shared_section_what_it_does_not_declare():
    section, shared = parameters.of_node(parameters.read_tree(ROOT / "params.yaml"), PIPELINE, "compare")
    work = Work("compare", PIPELINE, section, shared, Path(), Path(), Path(), None)
    assert work.limits.max_prompt_tokens == 64 and work.compute.precision == "auto"
    with pytest.raises(AttributeError, match=r"compare reads limits.context_length, which its stage does not declare"):
        _ = work.limits.context_length
    with pytest.raises(AttributeError, match=r"compute.devices"):
        _ = work.compute.devices


def test_artifacts_that_the_code_names_are_declared():
    for stage, declared in GRAPH.items():
        outs = {out if isinstance(out, str) else next(iter(out)) for out in declared["outs"]}
        assert all(out.startswith(f"artifacts/{stage}/") for out in outs)
        assert f"artifacts/{stage}/run.json" in outs


def test_a_models_parents_are_the_nodes_whose_models_it_is_made_from():
    found = {name: PIPELINE.parents(name) for name in PIPELINE.models}
    assert found == {
        "pretrain": [], "sft": ["pretrain"], "reward": ["sft"], "ppo": ["sft", "reward"], "dpo": ["sft"],
        "feedme": ["sft"],
    }  # fmt: skip
    assert PIPELINE.ancestors("reward") == ["prepare", "pretrain", "sft", "compare"]


def test_nothing_depends_on_a_run_record():
    assert not [dep for stage in GRAPH.values() for dep in stage["deps"] if dep.endswith("run.json")]


def sections():
    """Every section that a parameter file may hold, by name."""
    types = [kind for stage in PIPELINE.stages.values() for kind in (stage.section, *stage.shared.values())]
    waiting, seen = [form for kind in (*types, Ingest) for form in forms(kind)], set()
    while waiting:
        kind = waiting.pop()
        if kind not in seen:
            seen.add(kind)
            waiting += [form for field in fields(kind) for form in forms(field.type)]
    return {kind.__name__: kind for kind in seen}


def test_every_parameter_is_read_by_the_code():
    used = {
        node.attr
        for path in modules("components")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
    }
    used |= {"kind", "seed_offset"}  # told apart by type; by the seed of whatever stage has one
    assert {"Ppo", "Optimizer", "GoldReward", "Part", "Limits", "FolderSource"} <= sections().keys()
    for name, kind in sections().items():
        unread = {field.name for field in fields(kind)} - used
        assert not unread, f"{name} has keys that nothing reads: {unread}"


def test_no_parameter_has_a_name_that_dvcs_run_cache_does_not_see():
    """Its key leaves out what is called `size` or `nfiles`, parameters too: a changed one restored the old model."""
    unseen = {Meta.PARAM_SIZE, Meta.PARAM_NFILES}
    tree = {"params": {"params.yaml": {"shape": 1}}}
    assert _get_cache_hash(tree) != _get_cache_hash({"params": {"params.yaml": {"shape": 2}}})
    names = {field.name for kind in sections().values() for field in fields(kind)}
    assert "learning_rate" in names and not names & unseen


def test_dvcs_own_edits_of_params_change_nothing_else(tmp_path):
    """`dvc exp run -S` writes params.yaml anew: comments and lines must stay as they are."""
    from dvc.utils.serialize import modify_yaml  # noqa: PLC0415

    before = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(before)
    with modify_yaml(str(tmp_path / "params.yaml")) as tree:
        tree["ppo"]["clip_ratio"] = 0.3
    after = (tmp_path / "params.yaml").read_text()
    changed = [pair for pair in zip(before.splitlines(), after.splitlines(), strict=True) if pair[0] != pair[1]]
    assert changed == [("  clip_ratio: 0.2", "  clip_ratio: 0.3")]


def test_dvc_shows_the_default_pipelines_figures_alone():
    """`dvc metrics show` looks at every graph of a repository, and complains of one that was never run."""
    for name in names(ROOT):
        stages = yaml.safe_load((ROOT / open_pipeline(name, ROOT).graph_file).read_text())["stages"].values()
        shown = {kind for entry in stages for kind in ("metrics", "plots") if kind in entry}
        assert shown == ({"metrics", "plots"} if name == "default" else set()), name
