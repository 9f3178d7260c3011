"""The whole road through both doors, in a real repository with real DVC, Prefect and MLflow. Tests run in order."""

import json
from fnmatch import fnmatchcase

import pytest
import yaml

from components.figures import patterns
from components.lineage import flatten
from components.params import load
from components.pipelines import open_pipeline
from tests.contracts.imports import ROOT
from tests.flows.repository import make_repository
from tests.flows.watching import outcomes, served

pytestmark = pytest.mark.slow
STAGES = tuple(open_pipeline(root=ROOT).nodes)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    with served(make_repository(tmp_path_factory.mktemp("run"))) as repository:
        yield repository


def test_first_flow_runs_every_stage_and_leaves_dvc_nothing_to_do(repository):
    did = outcomes(repository.flow())
    assert did == dict.fromkeys(("ingest", *STAGES), "Completed")
    assert "up to date" in repository.dvc("status")
    assert "Running stage" not in repository.dvc("repro")


def test_everything_is_cached_the_second_time(repository):
    before = len(repository.runs(""))
    did = outcomes(repository.flow())
    assert did == dict.fromkeys(("ingest", *STAGES), "Cached")
    assert len(repository.runs("")) == before


def test_the_lineage_shows_what_was_asked_for_and_what_it_came_to(repository):
    (lineage,) = repository.runs("tags.kind = 'lineage'")
    assert lineage.info.run_name == "default"
    assert {"ppo/gold_win_rate", "reward/share_of_ceiling", "gate/ppo"} <= lineage.data.metrics.keys()
    assert len(lineage.data.metrics) < 30
    assert "ppo, wins over sft by gold score" in lineage.data.tags["mlflow.note.content"]
    attached = {item.path for item in repository.client().list_artifacts(lineage.info.run_id)}
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
    versions = {name: repository.client().get_model_version_by_alias(f"gpt-{name}", "candidate") for name in
                ("pretrain", "sft", "reward", "ppo")}  # fmt: skip
    assert versions["ppo"].tags["parent.sft.version"] == str(versions["sft"].version)
    assert versions["ppo"].tags["parent.reward.version"] == str(versions["reward"].version)
    assert versions["ppo"].tags["gate"].startswith("ppo.")  # two steps of training align nothing
    (run,) = repository.runs("tags.stage = 'ppo' and tags.kind = 'stage'")
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
    newest = repository.runs("tags.kind = 'lineage'")[0]
    assert newest.info.run_name == "ppo.kl_coef=0.2"
    children = repository.runs(f"tags.`mlflow.parentRunId` = '{newest.info.run_id}'")
    assert {child.data.tags["stage"] for child in children} == set(STAGES)
    kinds = {child.data.tags["stage"]: child.data.tags["kind"] for child in children}
    assert {stage for stage, kind in kinds.items() if kind == "stage"} == {"ppo", "evaluate"}


def test_a_changed_ppo_value_reruns_ppo_and_evaluate_alone_through_dvc(repository):
    repository.set(ppo__kl_coef=0.3)
    output = repository.dvc("repro")
    assert [stage for stage in STAGES if f"Running stage '{stage}'" in output] == ["ppo", "evaluate"]
    assert set(outcomes(repository.flow()).values()) == {"Cached"}
    parent = repository.runs("tags.kind = 'lineage' and tags.door = 'dvc'")[0]
    children = repository.runs(f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert {child.data.tags["stage"]: child.data.tags["kind"] for child in children} == {
        **dict.fromkeys(STAGES, "cached"), "ppo": "stage", "evaluate": "stage",
    }  # fmt: skip
    assert parent.info.status == "FINISHED"


def test_going_back_restores_from_the_run_cache(repository):
    repository.set(ppo__kl_coef=0.2)
    did = outcomes(repository.flow())
    assert {stage for stage, outcome in did.items() if outcome == "Restored"} == {"ppo", "evaluate"}
    restored = json.loads((repository.root / "artifacts/ppo/run.json").read_text())["model_version"]
    assert str(repository.client().get_model_version_by_alias("gpt-ppo", "candidate").version) == restored


def test_an_override_reruns_what_it_touches_and_leaves_the_repository_alone(repository):
    before = (repository.root / "params.yaml").read_text()
    candidate = repository.client().get_model_version_by_alias("gpt-ppo", "candidate").version
    output = repository.flow("--set", "sft.max_steps=5")
    did = outcomes(output)
    assert repository.client().get_model_version_by_alias("gpt-ppo", "candidate").version == candidate
    (variant,) = (repository.root / ".lineage/variants").iterdir()
    own = repository.client().get_model_version_by_alias("gpt-ppo", f"candidate-{variant.name}").version
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
