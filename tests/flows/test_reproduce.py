"""Registered versions of a real repository: made again, reached from experiments and variants, found after a move."""

import json
import os
import shutil
import signal
import urllib.request

import pytest

from flows.server import free_port

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def repository(finished, tmp_path_factory):
    return finished.copy(tmp_path_factory.mktemp("again") / "home")


def versions(repository):
    found = repository.client().get_registered_model("gpt-pretrain").aliases
    return {alias: str(version) for alias, version in found.items()}


def shown_by_the_pages(repository):
    """The parameters of version 1 as MLflow's server of `make ui` hands them out."""
    ports = [free_port(), free_port(), free_port()]
    run_id = repository.client().get_model_version("gpt-pretrain", "1").run_id
    arguments = ("--prefect-port", str(ports[0]), "--mlflow-port", str(ports[1]), "--chat-port", str(ports[2]))
    pages = repository.start("python", "-m", "flows.ui", *arguments)
    try:
        while (line := pages.stdout.readline()) and "Ctrl-C" not in line:
            pass
        address = f"http://127.0.0.1:{ports[1]}/get-artifact?path=params.yaml&run_uuid={run_id}"
        with urllib.request.urlopen(address, timeout=60) as answer:
            return answer.read().decode()
    finally:
        os.killpg(pages.pid, signal.SIGINT)
        pages.communicate(timeout=60)


def test_a_version_is_made_again_with_equal_weights(repository):
    assert "equal: SHA-256" in repository.flow("models:/gpt-pretrain/1", name="reproduce")
    output = repository.flow("models:/gpt-pretrain@candidate", "--force", name="reproduce")
    assert "Running stage 'pretrain'" in output and "equal: SHA-256" in output
    assert versions(repository)["candidate"] == "1"


def test_what_differs_is_named(repository):
    store = repository.client()
    tags = store.get_model_version("gpt-pretrain", "1").tags
    other = {
        "weights.sha256": "0" * 64,
        "processor": "another",
        "packages": tags["packages"].replace("torch==", "torch==1+"),
    }
    for key, value in other.items():
        store.set_model_version_tag("gpt-pretrain", "1", key, value)
    try:
        output = repository.flow("models:/gpt-pretrain/1", name="reproduce", check=False)
    finally:
        for key in other:
            store.set_model_version_tag("gpt-pretrain", "1", key, tags[key])
    for words in ("differs:", "0" * 64, "instead of another", "package torch"):
        assert words in output


def test_a_version_shows_what_it_was_made_of(repository):
    page = repository.flow("--show", "models:/gpt-pretrain/1", name="reproduce")
    commit = repository.run("git", "rev-parse", "HEAD~1").strip()
    for words in (f"commit {commit}", "torch==", "python -m flows.reproduce models:/gpt-pretrain/1"):
        assert words in page
    assert "uncommitted" not in page  # that stages write dvc.lock is no change of the code
    assert "no model at" in repository.flow("models:/gpt-pretrain/99", name="reproduce", check=False)


def test_an_experiment_of_dvc_in_a_copy_reaches_the_store_and_moves_no_alias(repository):
    repository.dvc("exp", "run", "--temp", "-n", "longer", "-S", "pretrain.max_steps=7", "pretrain")
    repository.dvc("exp", "apply", "longer")
    record = json.loads((repository.root / "artifacts/pretrain/run.json").read_text())
    found = repository.client().get_model_version("gpt-pretrain", record["model_version"])
    assert record["tracking"] == "complete" and found.run_id == record["run_id"]
    assert versions(repository)["candidate"] == "1"
    assert versions(repository)["candidate-longer"] == record["model_version"]
    repository.run("git", "checkout", "-q", ".")
    repository.dvc("checkout", "--allow-missing")


def test_a_variant_has_its_own_alias_and_a_name_of_what_was_asked_for(repository):
    repository.flow("--set", "pretrain.max_steps=8", until="pretrain")
    (variant,) = (repository.root / ".lineage/variants").iterdir()
    assert versions(repository)[f"candidate-{variant.name}"] != versions(repository)["candidate"] == "1"
    store = repository.client()
    experiment = store.get_experiment_by_name("gptlineage").experiment_id
    names = [
        run.info.run_name for run in store.search_runs([experiment], "tags.kind = 'lineage' and tags.door = 'prefect'")
    ]
    assert names == ["pretrain.max_steps=8"]


def test_a_flow_without_mlflow_goes_on_and_its_record_says_so(repository):
    repository.environment["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{free_port()}"
    try:
        output = repository.flow("--set", "pretrain.max_steps=9", until="pretrain")
    finally:
        del repository.environment["MLFLOW_TRACKING_URI"]
    assert "Traceback" not in output
    assert output.count("the flow goes on untracked") == 1
    records = [
        json.loads(path.read_text()) for path in repository.root.glob(".lineage/variants/*/artifacts/pretrain/run.json")
    ]
    assert sorted(record["tracking"].partition(":")[0] for record in records) == ["complete", "incomplete"]


def test_a_moved_repository_goes_on_where_it_is(repository, tmp_path):
    old = repository.root
    shutil.move(old, tmp_path / "elsewhere")
    repository.root = tmp_path / "elsewhere"
    repository.environment["PREFECT_HOME"] = str(repository.root / ".prefect")
    repository.flow("--force", "pretrain", until="pretrain")
    assert versions(repository)["candidate"] == str(max(int(v) for v in versions(repository).values()))
    assert "seed:" in shown_by_the_pages(repository)
    source = repository.client().get_model_version_download_uri("gpt-pretrain", "1")
    assert not old.exists()
    assert str(old) not in source
