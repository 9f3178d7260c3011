"""The figures a lineage is known by: columns of MLflow's list of lineages, and what anything short should show."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from components.gates import look_up


class Headline(NamedTuple):
    """A figure of `artifacts/evaluate/metrics.json` by its dotted path, and what it is in words."""

    figure: str
    words: str

    @property
    def metric(self) -> str:
        """Its name in MLflow."""
        return self.figure.replace(".", "/")


HEADLINES = (
    Headline("pretrain.bits_per_byte", "base model, bits per byte"),
    Headline("sft.validation_loss_ratio", "SFT, validation loss as a share of the base model's"),
    Headline("reward.pair_accuracy", "reward model, held-out pair accuracy"),
    Headline("reward.share_of_ceiling", "the same, as a share of its ceiling"),
    Headline("ppo.gold_win_rate", "PPO, wins over SFT by gold score"),
    Headline("ppo.judge_win_rate", "PPO, wins over SFT by people's judge"),
    Headline("ppo.typicality_win_rate", "PPO, wins over SFT by typicality"),
    Headline("ppo.kl", "PPO, KL from SFT, nats a reply"),
    Headline("ppo.pretrain_loss_increase", "PPO, loss on plain text beside SFT's"),
    Headline("ppo.ended_share", "PPO, replies that end by themselves"),
    *(
        Headline(f"{name}.{figure}", f"{title}, {words}")
        for name, title in (("dpo", "DPO"), ("feedme", "FeedME"))
        for figure, words in (
            ("gold_win_rate", "wins over SFT by gold score"),
            ("judge_win_rate", "wins over SFT by people's judge"),
            ("ended_share", "replies that end by themselves"),
        )
    ),
)


def headline_figures(evaluation: Mapping[str, Any]) -> dict[Headline, float]:
    """The headline figures that an evaluation has."""
    found = {headline: look_up(evaluation, headline.figure) for headline in HEADLINES}
    return {headline: value for headline, value in found.items() if value is not None}
