"""Rounds without people, for studies: the simulated labeler ranks the newest policy's replies; reward model and PPO
learn from all rounds so far. Beside them `once`: as many rankings of the same prompts, of the fine-tuned model alone.

It begins with the default pipeline's tokens and pretrained model: `python -m flows.lineage --until pretrain`.
"""

from collections.abc import Iterator

from components.stage import Node, Pipeline, node

ROUNDS = (1, 2, 3)
PREPARED, PRETRAINED = "./artifacts/prepare", "./artifacts/pretrain/model"
DEMONSTRATIONS = f"{PREPARED}/demonstrations/train.jsonl"


def comparing(name: str, *, policy: str, prompts: str) -> Node:
    """Replies of a policy, ranked."""
    return node(
        name,
        stage="compare",
        policy=policy,
        prompts=prompts,
        demonstrations=DEMONSTRATIONS,
        comparisons=f"{PREPARED}/comparisons.jsonl",
    )


def learning(name: str, earlier: tuple[str, ...] = ()) -> Iterator[Node]:
    """What is learnt from `compare-<name>` and earlier comparisons, and how far it carries.

    The policy starts from the fine-tuned model. `probe` has replies of the policy that came of it ranked, to prompts of
    conversations that nothing trains on: there the reward model is judged.
    """
    yield node(
        f"reward-{name}",
        stage="reward",
        base="sft/model",
        labeler=f"compare-{name}/labeler.json",
        train=f"compare-{name}/train.jsonl",
        earlier=tuple(f"compare-{each}/train.jsonl" for each in earlier),
        judge=f"compare-{name}/judge.jsonl",
        validation=f"compare-{name}/validation.jsonl",
        demonstrations=DEMONSTRATIONS,
    )
    yield node(
        f"ppo-{name}",
        stage="ppo",
        policy="sft/model",
        reward=f"reward-{name}/model",
        reward_figures=f"reward-{name}/metrics.json",
        prompts=f"{PREPARED}/prompts/ppo.jsonl",
        tokens=f"{PREPARED}/tokens",
        demonstrations=DEMONSTRATIONS,
    )
    yield comparing(f"probe-{name}", policy=f"ppo-{name}/model", prompts=f"{PREPARED}/prompts/test.jsonl")
    yield node(
        f"evaluate-{name}",
        stage="evaluate",
        models=("sft/model", f"ppo-{name}/model"),
        reference=("sft/model",),
        reward=(f"reward-{name}/model",),
        judge=(f"reward-{name}/judge",),
        labeler=(f"probe-{name}/labeler.json",),
        validation=(f"compare-{name}/validation.jsonl",),
        test=(f"probe-{name}/test.jsonl",),
        prompts=(f"{PREPARED}/prompts",),
        tokens=(f"{PREPARED}/tokens",),
        demonstrations=(f"{PREPARED}/demonstrations",),
        figures=("sft/metrics.json",),
        calibration=(f"reward-{name}/calibration.csv",),
        curves=tuple(f"{stage}/history.csv" for stage in ("sft", f"reward-{name}", f"ppo-{name}")),
    )


def of_round(k: int) -> Iterator[Node]:
    """The nodes of a round."""
    newest = f"ppo-{k - 1}" if k > 1 else "sft"
    yield node(f"portion-{k}", stage="portion", prompts=f"{PREPARED}/prompts/compare.jsonl")
    yield comparing(f"compare-{k}", policy=f"{newest}/model", prompts=f"portion-{k}/prompts.jsonl")
    yield from learning(str(k), tuple(str(n) for n in range(1, k)))


PIPELINE = Pipeline(
    node("sft", base=PRETRAINED, demonstrations=f"{PREPARED}/demonstrations"),
    *(each for k in ROUNDS for each in of_round(k)),
    comparing("compare-once", policy="sft/model", prompts=f"{PREPARED}/prompts/compare.jsonl"),
    *learning("once"),
)
