"""The whole road through both doors, in a real repository with real DVC, Prefect and MLflow. Tests run in order."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from fnmatch import fnmatchcase

import psutil
import pytest
import yaml
from mlflow import MlflowClient

from components.figures import patterns
from components.lineage import flatten
from components.params import load
from components.pipelines import open_pipeline
from tests.contracts.imports import ROOT
from tests.flows.repository import make_repository

pytestmark = pytest.mark.slow

STAGES = tuple(open_pipeline(root=ROOT).nodes)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    repository = make_repository(tmp_path_factory.mktemp("run"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = repository.start_server(port)
    yield repository
    server.terminate()
    server.wait()


def outcomes(output):
    """What the summary table says DVC did with each stage."""
    cells = [[cell.strip() for cell in line.split("│")] for line in output.splitlines() if line.startswith("│")]
    return {row[1]: row[2] for row in cells if row[1] in {"ingest", *STAGES}}


def client(repository):
    return MlflowClient(f"sqlite:///{repository.root}/mlruns/mlflow.db")


def runs(repository, query):
    found = client(repository)
    experiment = found.get_experiment_by_name("gptlineage").experiment_id
    return found.search_runs([experiment], query, order_by=["attributes.start_time DESC"])


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("timed out")


def stage_process(repository, stage):
    """The process that runs a stage below this repository, if any."""
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if command[1:4] == ["-m", "components.stages", stage]:
            try:
                if str(repository.root) in process.cwd():
                    return process
            except psutil.Error:
                continue
    return None


def test_first_flow_runs_every_stage_and_leaves_dvc_nothing_to_do(repository):
    did = outcomes(repository.flow())
    assert did == dict.fromkeys(("ingest", *STAGES), "Completed")
    assert "up to date" in repository.dvc("status")
    assert "Running stage" not in repository.dvc("repro")


def test_everything_is_cached_the_second_time(repository):
    before = len(runs(repository, ""))
    did = outcomes(repository.flow())
    assert did == dict.fromkeys(("ingest", *STAGES), "Cached")
    assert len(runs(repository, "")) == before


def test_the_lineage_shows_what_was_asked_for_and_what_it_came_to(repository):
    (lineage,) = runs(repository, "tags.kind = 'lineage'")
    assert lineage.info.run_name == "default"
    assert {"ppo/gold_win_rate", "reward/share_of_ceiling", "gate/ppo"} <= lineage.data.metrics.keys()
    assert len(lineage.data.metrics) < 30
    assert "ppo, wins over sft by gold score" in lineage.data.tags["mlflow.note.content"]
    attached = {item.path for item in client(repository).list_artifacts(lineage.info.run_id)}
    assert {"report.html", "plots", "params.yaml"} <= attached


def test_metrics_and_tags_are_where_they_should_be(repository):
    metrics = json.loads((repository.root / "artifacts/evaluate/metrics.json").read_text())
    for key in (
        "gold_win_rate",
        "gold_win_rate_low",
        "typicality_win_rate_low",
        "pretrain_loss_increase",
        "ended_share",
        "kl",
    ):
        assert isinstance(metrics["ppo"][key], float)
    assert metrics["pretrain"]["bits_per_byte"] > 0
    assert 0.5 <= metrics["reward"]["label_ceiling"] <= 1
    versions = {name: client(repository).get_model_version_by_alias(f"gpt-{name}", "candidate") for name in
                ("pretrain", "sft", "reward", "ppo")}  # fmt: skip
    assert versions["ppo"].tags["parent.sft.version"] == str(versions["sft"].version)
    assert versions["ppo"].tags["parent.reward.version"] == str(versions["reward"].version)
    assert versions["ppo"].tags["gate"].startswith("ppo.")  # two steps of training align nothing
    (run,) = runs(repository, "tags.stage = 'ppo' and tags.kind = 'stage'")
    assert run.inputs.dataset_inputs[0].dataset.digest.endswith(".dir")
    assert "ppo/rollout/kl_per_reply" in run.data.metrics


def test_a_gate_may_ask_for_every_figure_that_evaluate_makes_and_no_other(repository):
    metrics = json.loads((repository.root / "artifacts/evaluate/metrics.json").read_text())
    models = {name: metrics[name] for name in ("pretrain", "sft", "reward", "ppo", "dpo", "feedme", "best_of_n")}
    found = [name for name, value in flatten(models, separator=".") if isinstance(value, int | float)]
    pipeline = open_pipeline(root=repository.root)
    tasks = load(pipeline, repository.root).sections["evaluate"].tasks
    known = patterns(tasks, pipeline.fed("evaluate"))
    assert [name for name in found if not any(fnmatchcase(name, pattern) for pattern in known)] == []
    with_people = {figure for figure in known if "judge" in figure}  # of a labeler that is a file
    whole = {figure for figure in known if not set("*[") & set(figure)} - with_people
    assert whole - set(found) <= {f for f in whole if "typicality" in f}  # needs more held-out replies than there are


def test_policy_starts_out_equal_to_the_reference(repository):
    history = (repository.root / "artifacts/ppo/history.csv").read_text().splitlines()
    first = dict(zip(history[0].split(","), map(float, history[1].split(",")), strict=True))
    assert first["rollout/kl_per_reply"] == 0
    assert first["update/first_ratio_deviation"] < 1e-5


def test_a_changed_ppo_value_reruns_ppo_and_evaluate_alone_through_the_flow(repository):
    repository.set(ppo__kl_coef=0.2)
    did = outcomes(repository.flow())
    assert {stage for stage, outcome in did.items() if outcome == "Completed"} == {"ppo", "evaluate"}
    assert "up to date" in repository.dvc("status")
    newest = runs(repository, "tags.kind = 'lineage'")[0]
    assert newest.info.run_name == "ppo.kl_coef=0.2"
    children = runs(repository, f"tags.`mlflow.parentRunId` = '{newest.info.run_id}'")
    assert {child.data.tags["stage"] for child in children} == set(STAGES)
    kinds = {child.data.tags["stage"]: child.data.tags["kind"] for child in children}
    assert {stage for stage, kind in kinds.items() if kind == "stage"} == {"ppo", "evaluate"}


def test_a_changed_ppo_value_reruns_ppo_and_evaluate_alone_through_dvc(repository):
    repository.set(ppo__kl_coef=0.3)
    output = repository.dvc("repro")
    assert [stage for stage in STAGES if f"Running stage '{stage}'" in output] == ["ppo", "evaluate"]
    assert set(outcomes(repository.flow()).values()) == {"Cached"}
    parent = runs(repository, "tags.kind = 'lineage' and tags.door = 'dvc'")[0]
    children = runs(repository, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert {child.data.tags["stage"]: child.data.tags["kind"] for child in children} == {
        **dict.fromkeys(STAGES, "cached"), "ppo": "stage", "evaluate": "stage",
    }  # fmt: skip
    assert parent.info.status == "FINISHED"


def test_going_back_restores_from_the_run_cache(repository):
    repository.set(ppo__kl_coef=0.2)
    did = outcomes(repository.flow())
    assert {stage for stage, outcome in did.items() if outcome == "Restored"} == {"ppo", "evaluate"}
    restored = json.loads((repository.root / "artifacts/ppo/run.json").read_text())["model_version"]
    assert str(client(repository).get_model_version_by_alias("gpt-ppo", "candidate").version) == restored


def test_an_override_reruns_what_it_touches_and_leaves_the_repository_alone(repository):
    before = (repository.root / "params.yaml").read_text()
    candidate = client(repository).get_model_version_by_alias("gpt-ppo", "candidate").version
    output = repository.flow("--set", "sft.max_steps=5")
    did = outcomes(output)
    assert client(repository).get_model_version_by_alias("gpt-ppo", "candidate").version == candidate
    (variant,) = (repository.root / ".lineage/variants").iterdir()
    own = client(repository).get_model_version_by_alias("gpt-ppo", f"candidate-{variant.name}").version
    assert own != candidate and f"make chat ARGS='--model models:/gpt-ppo/{own}'" in output
    touched = set(STAGES[STAGES.index("sft") :])
    assert {stage for stage, outcome in did.items() if outcome == "Completed"} == touched
    assert did["ingest"] == did["prepare"] == did["pretrain"] == "Cached"
    assert (repository.root / "params.yaml").read_text() == before
    assert "up to date" in repository.dvc("status")


def test_a_single_stage_flow_stops_at_its_stage(repository):
    did = outcomes(repository.flow(until="reward"))
    assert list(did) == ["ingest", *STAGES[: STAGES.index("reward") + 1]]


def test_wrong_names_are_refused_with_a_sentence(repository):
    for arguments, words in (
        (("--preset", "huge"), "no preset 'huge'"),
        (("--set", "ppo.nope=1"), "no such parameter: ppo.nope"),
        (("--set", "ppo.kl_coef=-1"), "ppo.kl_coef"),
        (("--set", "ppo.kl_coef=.nan"), "ppo.kl_coef"),
        (("--set", "compute.devices=99"), "compute.devices"),
        (("--set", "ppo.stops=["), "is not YAML"),
        (("--from", "nowhere"), "no stage 'nowhere'"),
        (("--at-once", "0"), "'0' is no number of stages"),
    ):
        assert words in repository.flow(*arguments, check=False)


def test_a_killed_stage_goes_on_from_its_checkpoint_to_the_same_weights(repository):
    whole = ("--set", "pretrain.max_steps=60", "--set", "pretrain.checkpoint_interval=5")
    cut = (*whole, "--set", "pretrain.validation_batches=7")  # another workspace and identity, the same training
    flow = repository.start("python", "-m", "flows.lineage", "--until", "pretrain", *cut)
    state = repository.root / ".lineage/state"
    wait_for(lambda: list(state.glob("pretrain-*/step-*/state.json")))
    stage_process(repository, "pretrain").send_signal(signal.SIGKILL)
    output, _ = flow.communicate(timeout=120)
    assert flow.returncode != 0
    assert "goes on from its last checkpoint" in output
    resumed = repository.flow(*cut, until="pretrain")
    assert "resuming from" in resumed
    repository.flow(*whole, until="pretrain")
    weights = [
        path.read_bytes()
        for path in (repository.root / ".lineage/variants").glob("*/artifacts/pretrain/model/model.safetensors")
        if yaml.safe_load((path.parents[3] / "params.yaml").read_text())["pretrain"]["max_steps"] == 60
    ]
    assert len(weights) == 2
    assert weights[0] == weights[1]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_whatever_ends_a_flow_ends_its_stage(repository, number):
    flow = repository.start(
        "python", "-m", "flows.lineage", "--until", "pretrain", "--set", f"pretrain.max_steps={10**6 + number}"
    )
    process = wait_for(lambda: stage_process(repository, "pretrain"))
    time.sleep(2)
    os.kill(flow.pid, number)
    flow.communicate(timeout=90)
    wait_for(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, seconds=40)
    repository.flow()  # the next flow clears up what a killed one could not
    assert not runs(repository, "attributes.status = 'RUNNING'")


def test_two_flows_at_once_take_turns(repository):
    repository.set(evaluate__num_prompts=12)
    first = repository.start("python", "-m", "flows.lineage")
    wait_for(lambda: stage_process(repository, "evaluate"))
    second = repository.flow()
    first_output, _ = first.communicate(timeout=120)
    assert first.returncode == 0, first_output
    assert "waiting for it to finish" in second
    assert outcomes(first_output)["evaluate"] == "Completed"
    assert outcomes(second)["evaluate"] == "Cached"


def test_changing_a_loss_reruns_its_stage_and_what_follows(repository):
    loss = repository.root / "components/losses/preference.py"
    loss.write_text(loss.read_text() + "\n# changed\n")
    stale = json.loads(repository.dvc("status", "--json"))
    assert set(stale) == {"reward", "dpo"}
    did = outcomes(repository.flow("--at-once", "2"))
    assert did["compare"] == "Cached" and did["reward"] == did["dpo"] == "Completed"
    assert "up to date" in repository.dvc("status")


def test_edited_data_is_refused_with_both_digests(repository):
    record = next((repository.root / "data/demonstrations").iterdir())
    original = record.read_text()
    record.chmod(0o644)
    record.write_text(original.replace("dog", "cow"))
    output = repository.flow(check=False)
    digest = yaml.safe_load((repository.root / "data.dvc").read_text())["outs"][0]["md5"]
    assert digest in output and "dvc add data" in output
    record.write_text(original)


PREDICT = """
import json, sys
for name in ("prefect", "dvc", "lightning", "chitchat_dataset", "vaderSentiment"):
    sys.modules[name] = None  # an import of it fails
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/gpt-ppo@candidate")
chat = [{"role": "user", "content": "hello you"}]
print(json.dumps([model.predict(chat, params={"seed": 3}), model.predict([chat, chat], params={"max_new_tokens": 2})]))
judge = mlflow.pyfunc.load_model("models:/gpt-reward@candidate")
print(json.dumps(judge.predict([*chat, {"role": "assistant", "content": "fine"}])))
"""


def test_a_registered_model_answers_in_a_process_without_the_repository(repository, tmp_path):
    uri = f"sqlite:///{repository.root}/mlruns/mlflow.db"
    environment = {**repository.environment, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    output = subprocess.run(
        [sys.executable, "-c", PREDICT, uri], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    one, several = json.loads(output[0])
    assert one["role"] == "assistant" and isinstance(one["content"], str)
    assert len(several) == 2
    assert isinstance(json.loads(output[1]), float)


def test_chat_streams_a_reply_and_remembers_the_conversation(repository):
    chat = subprocess.run(
        ["python", "-m", "components.chat", "--model", "models:/gpt-ppo@candidate", "--max-new-tokens", "5"],
        cwd=repository.root, env=repository.environment, input="hello\nwhat do you think\n/quit\n",
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert chat.stdout.count("bot> ") == 2
    missing = subprocess.run(
        ["python", "-m", "components.chat", "--model", "models:/gpt-ppo@nobody"],
        cwd=repository.root, env=repository.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert missing.returncode != 0 and "no model at" in missing.stderr


def test_metrics_diff_right_after_a_run_compares_with_the_last_commit(repository):
    """And its table is narrow enough to read: the headline figures alone."""
    committed = {"ppo/gold_win_rate": 0.25}
    headline = repository.root / "artifacts/evaluate/headline.json"
    own = headline.read_text()
    headline.write_text(json.dumps(committed))
    repository.run("git", "add", "artifacts/evaluate/headline.json")
    repository.run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "figures")
    headline.write_text(own)
    assert "up to date" in repository.dvc("status")
    found = json.loads(repository.dvc("metrics", "diff", "--json"))["artifacts/evaluate/headline.json"]
    assert found["ppo/gold_win_rate"]["old"] == 0.25
    assert found["ppo/gold_win_rate"]["new"] == json.loads(own)["ppo/gold_win_rate"]
    shown = json.loads(repository.dvc("metrics", "show", "--json"))[""]["data"]
    assert list(shown) == ["artifacts/evaluate/headline.json"] and len(own.splitlines()) < 25
