"""dvc.yaml tells the truth: code, parameters and files that a stage uses are those it declares."""

import ast
import subprocess
import sys

import pytest
import yaml
from dvc.stage.cache import _get_cache_hash
from dvc_data.hashfile.meta import Meta

from components import params as parameters
from components import schema, schema_base, schema_rl
from components.lineage import PARENTS, STAGES, flatten
from components.stage import Kind, Pipeline, Stage, node
from flows.render import code, declarations, deployments, render
from pipelines.default.pipeline import PIPELINE
from tests.contracts.imports import ROOT

GRAPH = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def test_the_graph_is_what_the_declaration_says():
    assert (ROOT / "dvc.yaml").read_text() == render(PIPELINE, ROOT), "python -m flows.render"
    text = (ROOT / "prefect.yaml").read_text()
    assert text == deployments(PIPELINE, text), "python -m flows.render"
    assert {each.get("parameters", {}).get("until") for each in yaml.safe_load(text)["deployments"]} == {
        None, "ingest", *STAGES,
    }  # fmt: skip


def test_a_stage_depends_on_the_code_it_runs_and_on_none_that_only_watches(tmp_path):
    files = {"stages/one.py": "from components.data import two\nimport torch", "tracking.py": "", "unused.py": "",
             "data/two.py": "from components import tracking\ndef f():\n    import components.three", "three.py": "",
             "__init__.py": ""}  # fmt: skip
    for name, text in files.items():
        (tmp_path / "components" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "components" / name).write_text(text)
    found = code(tmp_path / "components/stages/one.py", tmp_path)
    assert found == {"components/stages/one.py", "components/data/two.py", "components/three.py"}


MAKER = Stage(reads={"data": Kind.RECORDS}, makes={"model": Kind.LANGUAGE_MODEL, "rows": Kind.PROMPTS}, params=())
READER = Stage(reads={"model": Kind.LANGUAGE_MODEL}, makes={}, params=())


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
    assert pipeline.problems({"maker": MAKER, "reader": READER}) == []
    with pytest.raises(ValueError, match="same name"):
        Pipeline(node("maker", data="./data"), node("maker", data="./data"))


@pytest.mark.parametrize("stage", GRAPH)
def test_inputs_that_a_stage_asks_for_are_those_it_declares(stage):
    """The names that stand in `stage.read("...")` in the stage's own module."""
    asked = {
        call.args[0].value
        for call in ast.walk(ast.parse((ROOT / f"components/stages/{stage}.py").read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "read"
        and call.args and isinstance(call.args[0], ast.Constant)
    }  # fmt: skip
    assert asked and asked <= declarations(PIPELINE)[stage].reads.keys()


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
    """(section, key) of every `params.section.key`; the key is None where the section is passed on as a whole."""
    sections = set(schema.Params.__dataclass_fields__)
    parents = {child: found for found in ast.walk(tree) for child in ast.iter_child_nodes(found)}
    for found in ast.walk(tree):
        if isinstance(found, ast.Attribute) and found.attr in sections and ast.unparse(found.value).endswith("params"):
            parent = parents.get(found)
            yield found.attr, parent.attr if isinstance(parent, ast.Attribute) else None


@pytest.mark.parametrize("stage", GRAPH)
def test_parameters_that_the_code_reads_are_declared(stage):
    declared = set(GRAPH[stage]["params"])
    files = code(ROOT / f"components/stages/{stage}.py", ROOT) - {"components/params.py"}
    for name in files:
        for section, leaf in parameters_read(ast.parse((ROOT / name).read_text())):
            whole = section in declared
            assert whole or (leaf and f"{section}.{leaf}" in declared), f"{name} reads {section}.{leaf or '*'}"


def test_artifacts_that_the_code_names_are_declared():
    for stage, declared in GRAPH.items():
        outs = {out if isinstance(out, str) else next(iter(out)) for out in declared["outs"]}
        assert all(out.startswith(f"artifacts/{stage}/") for out in outs)
        assert f"artifacts/{stage}/run.json" in outs


def test_stages_are_in_order_and_parents_come_first():
    assert tuple(GRAPH) == STAGES
    for child, parents in PARENTS.items():
        assert all(STAGES.index(parent) < STAGES.index(child) for parent in parents)


def test_nothing_depends_on_a_run_record():
    assert not [dep for stage in GRAPH.values() for dep in stage["deps"] if dep.endswith("run.json")]


def test_every_parameter_is_read_by_the_code():
    used = {
        node.attr
        for path in (ROOT / "components").rglob("*.py")
        if not path.name.startswith("schema")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
    }
    used |= {"presets", "kind", "seed_offset"}  # read by the flows; told apart by type; by seed_of, whatever the stage
    kinds = {name: kind for module in (schema, schema_rl, schema_base) for name, kind in vars(module).items()}
    for name, kind in kinds.items():
        if str(getattr(kind, "__module__", "")).startswith("components.schema") and hasattr(
            kind, "__dataclass_fields__"
        ):
            unread = set(kind.__dataclass_fields__) - used
            assert not unread, f"{name} has keys that nothing reads: {unread}"


def test_no_parameter_has_a_name_that_dvcs_run_cache_does_not_see():
    """Its key leaves out what is called `size` or `nfiles`, parameters too: a changed one restored the old model."""
    unseen = {Meta.PARAM_SIZE, Meta.PARAM_NFILES}
    tree = {"params": {"params.yaml": {"shape": 1}}}
    assert _get_cache_hash(tree) != _get_cache_hash({"params": {"params.yaml": {"shape": 2}}})
    kinds = {kind for module in (schema, schema_rl, schema_base) for kind in vars(module).values()
             if hasattr(kind, "__dataclass_fields__")}  # fmt: skip
    names = {name for kind in kinds for name in kind.__dataclass_fields__}
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
