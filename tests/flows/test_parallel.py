"""One process and two (gloo) make the same update."""

import csv

import pytest
import torch
from safetensors.torch import load_file

from tests.components.alignment import actor_critic, steady

pytestmark = pytest.mark.slow
RATE = 1e-3  # a thousand times the tolerance
TOLERANCE = 1e-6
# Gradients of the reward model are right to 4e-7 in fp32, however the batch is cut (in float64 parts add up to 1e-12:
# test_scoring), and near Adam's epsilon, 1e-5, a step multiplies an error by RATE / 1e-5 = 100.
REWARD_TOLERANCE = 2e-6
ONE_UPDATE = {
    "pretrain__max_steps": 1, "sft__max_steps": 1, "dpo__max_steps": 1, "reward__epochs": 1,
    "reward__prompts_per_batch": 1000,
    # Minibatches of 4 of 16, cut singly: processes have 2 and 2, 3 and 1 or 4 and 0 rows of one.
    "ppo__iterations": 1, "ppo__inner_epochs": 1, "ppo__rollout_batch_size": 16, "ppo__minibatch_size": 4,
    "ppo__microbatch_size": 1, "ppo__algorithm": actor_critic(RATE), "ppo__policy": steady(RATE),
    **{f"{stage}__optimizer": steady(RATE) for stage in ("pretrain", "sft", "reward", "dpo")},
}  # fmt: skip


def first_row(path):
    with path.open() as file:
        return {name: float(value) for name, value in next(csv.DictReader(file)).items() if value}


def run(repository, stage):
    """Weights and first row of the curve that a stage makes."""
    repository.run("python", "-m", "components.stages", stage)
    out = repository.root / "artifacts" / stage
    return load_file(out / "model/model.safetensors"), first_row(out / "history.csv")


@pytest.fixture(scope="module")
def repository(finished, tmp_path_factory):
    repository = finished.copy(tmp_path_factory.mktemp("parallel") / "home")
    repository.set(**ONE_UPDATE)
    return repository


LORA = {"kind": "lora", "rank": 4, "alpha": 8.0}
# The adapted reward model is made before the adapted ppo, which shares its trunk.
CASES = {"ppo": {}, "reward": {}, "dpo": {}, "sft": {}, "pretrain": {}, "adapted reward": {"reward__weights": LORA},
         "adapted ppo": {"ppo__weights": LORA}}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_two_processes_make_the_update_of_one(repository, case):
    stage = case.removeprefix("adapted ")
    repository.set(compute__devices=1, compute__accelerator="cpu", compute__strategy="auto", **CASES[case])
    alone = run(repository, stage)
    repository.set(compute__devices=2, compute__strategy="ddp_find_unused_parameters_true")
    together = run(repository, stage)
    tolerance = REWARD_TOLERANCE if case == "reward" else TOLERANCE
    for name, weight in alone[0].items():
        relative = 1e-5 if name == "head.bias" else 0.0  # no weight: a figure, set to a mean of scores after training
        torch.testing.assert_close(together[0][name], weight, atol=tolerance, rtol=relative)
    assert alone[1].keys() == together[1].keys()
    for name, figure in alone[1].items():
        if name != "rollout/distinct_2":  # counted within a process
            assert together[1][name] == pytest.approx(figure, abs=1e-5, rel=1e-5), name
