"""docs/extending.md: what is added is the files that it shows, and a value or a node that names them."""

import re
import shutil
import subprocess
import sys

import pytest
import yaml

from tests.contracts.imports import ROOT
from tests.extending import FILES

COPIED = ("components", "flows", "pipelines")


@pytest.fixture
def copy(tmp_path):
    """The code, the parameters and the graph, without what tests and benchmarks add."""
    for folder in COPIED:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("params.yaml", "dvc.yaml", "prefect.yaml", "data.dvc"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def add(copy, name):
    (copy / name).parent.mkdir(parents=True, exist_ok=True)
    (copy / name).write_text(FILES[name])


def python(copy, *command):
    done = subprocess.run([sys.executable, *command], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def changed(copy, **values):
    """The nodes whose entry in the graph is another once some values are in force."""
    path = copy / "params.yaml"
    tree = yaml.safe_load(path.read_text())
    for key, value in values.items():
        section, name = key.split("__")
        tree[section][name] = value
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    before = yaml.safe_load((copy / "dvc.yaml").read_text())["stages"]
    python(copy, "-m", "flows.render")
    after = yaml.safe_load((copy / "dvc.yaml").read_text())["stages"]
    assert before.keys() == after.keys()
    return {node: set(after[node]["deps"]) ^ set(before[node]["deps"]) for node in after if after[node] != before[node]}


def test_the_page_shows_a_file_of_each_kind():
    assert {name.rpartition("/")[0] for name in FILES} == {
        "components/rewards", "components/tasks", "components/data/sources", "components/data/templates",
        "components/models/families",
        "components/stages", "pipelines/twice",
    }  # fmt: skip


SCORE = """
from components.rewards.short import ShortReward
from components.rewards.source import RewardContext
source = ShortReward(kind="short", words=2).build(RewardContext(None, 0, None, None, 8))
print(source.score_text(None, "two words"), source.score_text(None, "now three words"))
"""


def test_a_reward_is_one_file_and_a_value_and_concerns_the_node_that_names_it(copy):
    add(copy, "components/rewards/short.py")
    assert changed(copy) == {}
    assert changed(copy, ppo__reward={"kind": "short", "words": 8}) == {
        "ppo": {"components/rewards/short.py", "components/rewards/model.py"}
    }
    assert python(copy, "-c", SCORE) == "1.0 0.0\n"
    parts = [{"weight": 1.0, "source": {"kind": "model"}}, {"weight": 0.5, "source": {"kind": "short", "words": 8}}]
    assert changed(copy, ppo__reward={"kind": "mixture", "parts": parts}) == {
        "ppo": {"components/rewards/mixture.py", "components/rewards/model.py"}
    }


def test_a_task_is_one_file_and_a_value_and_gates_know_its_figures(copy):
    add(copy, "components/tasks/questions.py")
    assert changed(copy) == {}
    tasks = [*yaml.safe_load((copy / "params.yaml").read_text())["evaluate"]["tasks"], {"kind": "questions"}]
    bound = [{"metric": "sft.asks_share", "maximum": 0.9}]
    assert changed(copy, evaluate__tasks=tasks, gates__sft=bound) == {"evaluate": {"components/tasks/questions.py"}}


READ = """
from pathlib import Path
from components.data.sources.numbers import NumbersSource
print(*(record.fields["text"] for record in NumbersSource(kind="numbers", documents=2).read(Path())), sep=";")
"""


def test_a_source_is_one_file_and_a_value_and_no_stages_concern(copy):
    add(copy, "components/data/sources/numbers.py")
    assert changed(copy, ingest__source={"kind": "numbers", "documents": 100}) == {}
    assert python(copy, "-c", READ) == "0 and 1;1 and 2\n"


WRITE = """
from components.data.templates.gemma import FORMAT
print(FORMAT.write([{"role": "user", "content": " Hi "}], cue=True), end="")
"""


def test_a_chat_format_is_one_file(copy):
    add(copy, "components/data/templates/gemma.py")
    assert changed(copy) == {}
    expected = "<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n"
    assert python(copy, "-c", WRITE) == expected


BUILD = """
import torch
from components.models.families.turning import Turning
from components.models.transformer import GPT
model = GPT(Turning(kind="turning", shape="1x8x2").config(vocab_size=9, context_length=4))
print(*model(torch.tensor([[1, 2, 3]])).shape, hasattr(model, "position_embedding"))
"""


def test_a_family_is_one_file_and_a_value_and_concerns_what_pretrains_it(copy):
    add(copy, "components/models/families/turning.py")
    assert changed(copy) == {}
    assert changed(copy, model__kind="turning") == {
        "pretrain": {"components/models/families/nanochat.py", "components/models/families/turning.py"}
    }
    assert python(copy, "-c", BUILD) == "1 3 8 False\n"


def test_a_stage_is_one_file_and_a_pipeline_one_more_with_its_parameters(copy):
    add(copy, "components/stages/polish.py")
    assert changed(copy) == {}
    add(copy, "pipelines/twice/pipeline.py")
    tree = yaml.safe_load((copy / "params.yaml").read_text())
    own = {key: tree[key] for key in ("seed", "limits", "model", "compute", "pretrain", "generation", "evaluate")}
    own["evaluate"]["tasks"] = [{"kind": "text"}]
    kept = ("checkpoint_interval", "optimizer", "batch_size", "max_steps", "validation_batches")
    own |= {"polish": {key: tree["sft"][key] for key in kept}, "polish-2": {}, "gates": {}, "presets": {"default": {}}}
    (copy / "pipelines/twice/params.yaml").write_text(yaml.safe_dump(own))
    assert changed(copy) == {}
    graph = yaml.safe_load((copy / "pipelines/twice/dvc.yaml").read_text())["stages"]
    assert list(graph) == ["pretrain", "polish", "polish-2", "evaluate"]
    assert "artifacts/twice/polish/model" in graph["polish-2"]["deps"]
    assert set(graph["polish-2"]["params"][0]["pipelines/twice/params.yaml"]) >= {"polish", "polish-2", "seed"}
    assert "twice-until-polish-2" in (copy / "prefect.yaml").read_text()


ROUNDS = """
from components.stage import Pipeline, node
from pipelines.default.pipeline import PIPELINE as FIRST
def again(each, k):
    inputs = {key: fed.replace("compare/", f"compare-{k}/").replace("reward/", f"reward-{k}/")
              for key, fed in each.inputs.items()}
    return node(f"{each.name}-{k}", stage=each.stage, **inputs)
ROUND = [again(FIRST.nodes[name], 2) for name in ("compare", "reward", "ppo")]
PIPELINE = Pipeline(*FIRST.nodes.values(), *ROUND)
"""


def test_a_second_round_of_compare_reward_and_ppo_is_a_loop_of_nodes(copy):
    (copy / "pipelines/repeated").mkdir()
    (copy / "pipelines/repeated/pipeline.py").write_text(ROUNDS)
    tree = yaml.safe_load((copy / "params.yaml").read_text())
    rounds = {"compare-2": {}, "reward-2": {}, "ppo-2": {"kl_coef": 0.1}}
    (copy / "pipelines/repeated/params.yaml").write_text(yaml.safe_dump(tree | rounds))
    python(copy, "-m", "flows.render")
    graph = yaml.safe_load((copy / "pipelines/repeated/dvc.yaml").read_text())["stages"]
    assert "artifacts/repeated/reward-2/model" in graph["ppo-2"]["deps"]
    assert "artifacts/repeated/reward/model" not in graph["ppo-2"]["deps"]


def test_an_edit_makes_stale_what_reads_it_and_nothing_else():
    """The code that each node depends on, by what would be edited."""
    graph = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    readers = {
        "components/stages/sft.py": {"sft"},
        "components/stages/ppo.py": {"ppo"},
        "components/losses/kl_control.py": {"ppo"},
        "components/losses/preference.py": {"reward", "dpo"},
        "components/models/transformer.py": {*graph} - {"prepare"},
        "components/sections/generation.py": {"compare", "reward", "ppo", "dpo", "feedme", "evaluate"},
        "components/models/families/nanochat.py": {"pretrain"},
        "components/sections/limits.py": {*graph},
    }
    for name, expected in readers.items():
        assert (ROOT / name).exists()
        assert {node for node, entry in graph.items() if name in entry["deps"]} == expected, name


def test_the_name_of_a_stage_stands_in_its_own_files_and_in_declarations_alone():
    found = {
        str(path.relative_to(ROOT))
        for folder in COPIED
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"feedme", path.read_text(), re.IGNORECASE)
    }
    assert found == {
        "components/stages/feedme.py", "pipelines/default/pipeline.py",
        "flows/study.py", "components/evaluation/study.py",  # studies of the default pipeline
    }  # fmt: skip
