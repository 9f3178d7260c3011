"""Who may import what (ARCHITECTURE.md, layer rules)."""

import subprocess
import sys

import pytest

from components.params import load
from components.pipelines import names, open_pipeline
from flows.render import imported
from tests.contracts.imports import ROOT, modules

# Folders of components, each above those before it.
LAYERS = (
    "sections",
    "losses",
    "data",
    "models",
    "labeling",
    "rewards",
    "evaluation",
    "training",
    "rl",
    "tasks",
    "prompting",
    "stages",
    "inference",
    "web",
)
PIPELINE = open_pipeline(root=ROOT)
STAGES = {each.stage for name in names(ROOT) for each in open_pipeline(name, ROOT).nodes.values()}


def top(path):
    return {name.split(".")[0] for name in imported(path)}


def where(package):
    folders = ("components", "flows", "pipelines")
    return {str(p.relative_to(ROOT)) for folder in folders for p in modules(folder) if package in top(p)}


def test_flows_have_no_torch_and_no_pandas():
    assert not {name for name in where("torch") | where("pandas") if name.startswith(("flows/", "pipelines/"))}


LIGHT = """
import importlib, sys
from pathlib import Path
from components import params
from components.pipelines import open_pipeline
params.load(open_pipeline())
for path in Path("components/stages").glob("[a-z]*.py"): importlib.import_module(f"components.stages.{path.stem}")
print(sorted({"torch", "mlflow", "lightning", "pandas", "numpy", "tokenizers"} & sys.modules.keys()))
"""


def test_declarations_and_parameters_are_read_without_what_stages_run():
    found = subprocess.run([sys.executable, "-c", LIGHT], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert found.strip() == "[]"


def test_components_know_neither_prefect_nor_dvc():
    assert not {name for name in where("prefect") | where("dvc") if name.startswith("components/")}


def test_mlflow_is_imported_in_one_module():
    assert where("mlflow") == {"components/mlflow_store.py"}


def test_lightning_is_imported_where_training_is():
    assert where("lightning") == {"components/training/fit.py", "components/training/checkpointing.py"}


def test_pandas_is_imported_where_frames_are():
    treating = {name for name in where("pandas") if name.startswith("components/data/treating/")}
    assert where("pandas") - treating == {
        "components/data/corpus.py",
        "components/data/prompts.py",
        "components/evaluation/report.py",
        "components/evaluation/study.py",
        "components/data/joining.py",
        "components/data/preparation.py",
    }


def test_the_web_is_in_one_package_that_nobody_imports():
    frameworks = where("fastapi") | where("starlette") | where("uvicorn")
    # Prefect's own server runs on it too (flows/server.py).
    assert {name for name in frameworks if not name.startswith("components/web/")} <= {"flows/server.py"}
    users = [p for f in ("components", "flows", "pipelines", "benchmarks") for p in modules(f)
             if any(name.startswith("components.web") for name in imported(p))]  # fmt: skip
    assert {p.parent.name for p in users} <= {"web"}


def test_inference_is_torch_alone():
    inside = modules("components/inference")
    assert not [p for p in inside if top(p) & {"asyncio", "fastapi", "prefect", "mlflow", "lightning", "pandas"}]


def test_components_do_not_import_flows():
    assert not [p for p in modules("components") if "flows" in top(p)]


@pytest.mark.parametrize("path", modules("components/stages"), ids=lambda path: path.stem)
def test_stages_do_not_import_each_other(path):
    others = {f"components.stages.{stage}" for stage in (STAGES | {"ingest"}) - {path.stem}}
    assert not imported(path) & others


def test_the_folder_of_stages_holds_stages_only():
    assert {path.stem for path in modules("components/stages")} == STAGES | {"ingest", "__main__", "__init__"}


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_run_downward(layer):
    above = tuple(f"components.{name}" for name in LAYERS[LAYERS.index(layer) + 1 :])
    wrong = {(path.stem, name) for path in modules(f"components/{layer}") for name in imported(path)
             if name.startswith(above)}  # fmt: skip
    assert not wrong


PAGES = """
import sys
import components.labeling.journal, components.labeling.agreement
print(sorted({"torch", "mlflow", "pandas", "numpy", "fastapi", "uvicorn"} & sys.modules.keys()))
"""


def test_the_journal_of_labels_knows_neither_models_nor_the_web():
    found = subprocess.run([sys.executable, "-c", PAGES], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert found.strip() == "[]"


def test_what_asks_people_is_no_stage_and_no_stage_asks():
    assert not [path for path in modules("components/stages") if "components.labeling.ask" in imported(path)]
    graphs = [ROOT / open_pipeline(name, ROOT).graph_file for name in names(ROOT)]
    assert not [graph for graph in graphs if "components/labeling/ask.py" in graph.read_text()]
    assert not [graph for graph in graphs if "components/labeling/journal.py" in graph.read_text()]


def test_losses_import_nothing_above_them():
    for path in modules("components/losses"):
        assert all(name.startswith("components.losses") for name in imported(path) if name.startswith("components"))


def kinds(value):
    """Every `kind` within a section."""
    found = {getattr(value, "kind", None)}
    parts = getattr(value, "parts", ())
    return found.union(*(kinds(part.source) for part in parts))


def test_gold_function_is_hidden_from_everything_that_trains():
    users = {
        str(p.relative_to(ROOT / "components"))
        for p in modules("components")
        if any(n.startswith("components.labeling.gold") for n in imported(p))
    }
    # rewards offer it to studies, on request only: what is compared is trained on the reward model. Robots label by it,
    # and nothing imports them.
    assert users == {"labeling/collecting.py", "labeling/robots.py", "tasks/referees.py", "rewards/gold.py"}
    assert not [p for p in modules("components") if "components.labeling.robots" in imported(p)]
    for name in names(ROOT):
        sections = load(open_pipeline(name, ROOT), ROOT).sections.values()
        assert not [each for each in sections if "gold" in kinds(getattr(each, "reward", None))]


def test_importing_every_module_changes_nothing(tmp_path):
    names = [
        ".".join(p.relative_to(ROOT).with_suffix("").parts)
        for folder in ("components", "flows")
        for p in modules(folder)
        if p.stem != "__init__"
    ]
    code = f"import importlib\nfor name in {names!r}: importlib.import_module(name)"
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(tmp_path), "PREFECT_HOME": str(tmp_path / "p")}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    assert {path.name for path in tmp_path.iterdir()} <= {"p", ".cache", ".config", ".prefect", ".matplotlib"}
