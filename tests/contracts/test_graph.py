"""dvc.yaml tells the truth: code, parameters and files that a stage uses are those it declares."""

import ast
import importlib.util
import subprocess
import sys

import pytest
import yaml

from components import params as parameters
from components import schema, schema_base, schema_rl
from components.lineage import PARENTS, STAGES, flatten
from tests.contracts.imports import ROOT, closure

GRAPH = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


@pytest.mark.parametrize("stage", GRAPH)
def test_code_dependencies_are_exactly_what_the_stage_imports(stage):
    declared = {dep for dep in GRAPH[stage]["deps"] if dep.startswith("components/")}
    assert declared == closure(ROOT / f"components/stages/{stage}.py") - {"components/__init__.py"}


@pytest.mark.parametrize("stage", GRAPH)
def test_command_is_the_stage(stage):
    assert GRAPH[stage]["cmd"] == f"python -m components.stages {stage}"
    assert importlib.util.find_spec(f"components.stages.{stage}")


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
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in sections and ast.unparse(node.value).endswith("params"):
            parent = parents.get(node)
            yield node.attr, parent.attr if isinstance(parent, ast.Attribute) else None


@pytest.mark.parametrize("stage", GRAPH)
def test_parameters_that_the_code_reads_are_declared(stage):
    declared = set(GRAPH[stage]["params"])
    files = {name for name in closure(ROOT / f"components/stages/{stage}.py") if name != "components/params.py"}
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
