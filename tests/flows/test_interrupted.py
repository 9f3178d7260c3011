"""What ends a stage or a flow, and what goes on after it; real DVC, Prefect and MLflow."""

import os
import signal
import time

import psutil
import pytest
import yaml

from tests.flows.watching import outcomes, served, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def repository(finished, tmp_path_factory):
    with served(finished.copy(tmp_path_factory.mktemp("interrupted") / "home")) as repository:
        yield repository


def test_a_killed_stage_goes_on_from_its_checkpoint_to_the_same_weights(repository):
    whole = ("--set", "pretrain.max_steps=60", "--set", "pretrain.checkpoint_interval=5")
    cut = (*whole, "--set", "pretrain.validation_batches=7")  # another workspace and identity, the same training
    flow = repository.start("python", "-m", "flows.lineage", "--until", "pretrain", *cut)
    state = repository.root / ".lineage/state"
    wait_for(lambda: list(state.glob("pretrain-*/step-*/state.json")))
    repository.stage_process("pretrain").send_signal(signal.SIGKILL)
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
    process = wait_for(lambda: repository.stage_process("pretrain"))
    time.sleep(2)
    os.kill(flow.pid, number)
    flow.communicate(timeout=90)
    wait_for(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, seconds=40)
    repository.flow()  # the next flow clears up what a killed one could not
    assert not repository.runs("attributes.status = 'RUNNING'")


def test_two_flows_at_once_take_turns(repository):
    repository.set(evaluate__num_prompts=12)
    first = repository.start("python", "-m", "flows.lineage")
    wait_for(lambda: repository.stage_process("evaluate"))
    second = repository.flow()
    first_output, _ = first.communicate(timeout=120)
    assert first.returncode == 0, first_output
    assert "waiting for it to finish" in second
    assert outcomes(first_output)["evaluate"] == "Completed"
    assert outcomes(second)["evaluate"] == "Cached"
