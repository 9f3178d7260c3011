"""Which figures evaluate puts into its metrics.json: what a gate may ask for. A figure that is new is added here.

No stage's output depends on this list: it only refuses a gate on what will never exist.
"""

from fnmatch import fnmatchcase

ALIGNED = ("ppo", "dpo", "feedme")
OF_EVERY_MODEL = (
    "gold_score", "reward_score", "response_tokens", "ended_share", "distinct_2", "test_loss", "test_bits_per_byte",
)  # fmt: skip
OF_ALIGNED = ("gold_win_rate", "gold_win_rate_low", "gold_win_rate_high", "kl", "pretrain_loss_increase")
OF_SFT = ("validation_loss", "validation_loss_ratio", "trained_fraction")
OF_REWARD = (
    "test_pair_accuracy", "test_pair_accuracy_low", "test_pair_accuracy_high", "test_pairs", "test_prompts",
    "test_calibration_error", "test_pair_accuracy_by_rank_gap.*", "test_pair_accuracy_by_length.*",
    "label_ceiling", "share_of_ceiling",
)  # fmt: skip
OF_BEST_OF_N = ("[1-9].kl", "[1-9].gold_score", "[1-9].reward_score")

# By dotted path; * and [1-9] as in file names.
FIGURES = (
    "seed",
    "prompts",
    *(f"{model}.{name}" for model in ("pretrain", "sft", *ALIGNED) for name in OF_EVERY_MODEL),
    *(f"{model}.{name}" for model in ALIGNED for name in OF_ALIGNED),
    *(f"sft.{name}" for name in OF_SFT),
    *(f"reward.{name}" for name in OF_REWARD),
    *(f"best_of_n.{name}" for name in OF_BEST_OF_N),
)


def is_figure(name: str) -> bool:
    """Whether evaluate may produce a figure of this dotted path."""
    return any(fnmatchcase(name, pattern) for pattern in FIGURES)


def like(name: str) -> list[str]:
    """The figures of the same model, or else of every model, for the sentence that refuses a name."""
    return [figure for figure in FIGURES if figure.split(".")[0] == name.split(".")[0]] or list(FIGURES)
