"""Rounds of labels by people: replies of the newest policy are ranked; SFT, reward model and PPO learn from all rounds.

It begins with the default pipeline's tokens and pretrained model. `python -m components.labeling.ask` asks,
`python -m components.labeling.journal export` brings what was answered; a round that nobody has answered waits.
"""

from collections.abc import Iterator

from components.stage import Node, Pipeline, node

ROUNDS = (1, 2, 3)
PREPARED, PRETRAINED = "./artifacts/prepare", "./artifacts/pretrain/model"
DEMONSTRATIONS = f"{PREPARED}/demonstrations/train.jsonl"


def of_round(k: int) -> Iterator[Node]:
    """The nodes of a round: the pretrained model is fine-tuned anew, with what people wrote so far, and from that the
    policy starts, as InstructGPT's did each time.
    """
    until = range(1, k + 1)
    yield node(f"gather-{k}", stage="gather", labels=f"./labels/round-{k:02d}", tokenizer=f"{PREPARED}/tokenizer.json")
    yield node(
        f"sft-{k}",
        stage="sft",
        base=PRETRAINED,
        demonstrations=f"{PREPARED}/demonstrations",
        people=tuple(f"gather-{n}/demonstrations.jsonl" for n in until),
    )
    yield node(
        f"compare-{k}",
        stage="compare",
        policy=f"sft-{k}/model",
        prompts=f"{PREPARED}/prompts/compare.jsonl",
        demonstrations=DEMONSTRATIONS,
        comparisons=f"{PREPARED}/comparisons.jsonl",
        people=tuple(f"gather-{n}/comparisons.jsonl" for n in until),
    )
    yield node(
        f"reward-{k}",
        stage="reward",
        base=f"sft-{k}/model",
        labeler=f"compare-{k}/labeler.json",
        train=f"compare-{k}/train.jsonl",
        judge=f"compare-{k}/judge.jsonl",
        validation=f"compare-{k}/validation.jsonl",
        demonstrations=DEMONSTRATIONS,
    )
    yield node(
        f"ppo-{k}",
        stage="ppo",
        policy=f"sft-{k}/model",
        reward=f"reward-{k}/model",
        reward_figures=f"reward-{k}/metrics.json",
        prompts=f"{PREPARED}/prompts/ppo.jsonl",
        tokens=f"{PREPARED}/tokens",
        demonstrations=DEMONSTRATIONS,
    )
    yield node(
        f"evaluate-{k}",
        stage="evaluate",
        models=("sft/model", f"sft-{k}/model", *(f"ppo-{n}/model" for n in until)),
        reference=("sft/model",),
        reward=(f"reward-{k}/model",),
        judge=(f"reward-{k}/judge",),
        labeler=(f"compare-{k}/labeler.json",),
        validation=(f"compare-{k}/validation.jsonl",),
        test=(f"compare-{k}/test.jsonl",),
        prompts=(f"{PREPARED}/prompts",),
        tokens=(f"{PREPARED}/tokens",),
        demonstrations=(f"{PREPARED}/demonstrations",),
        figures=("sft/metrics.json",),
        calibration=(f"reward-{k}/calibration.csv",),
        curves=tuple(
            f"{name}/history.csv" for name in ("sft", f"sft-{k}", f"reward-{k}", *(f"ppo-{n}" for n in until))
        ),
    )


PIPELINE = Pipeline(
    node("sft", base=PRETRAINED, demonstrations=f"{PREPARED}/demonstrations"),
    *(each for k in ROUNDS for each in of_round(k)),
)
