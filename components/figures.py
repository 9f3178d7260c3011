"""Which figures evaluate puts into its metrics.json: what a gate may ask for. A figure that is new is added here.

No stage's output depends on this list: it only refuses a gate on what will never exist.
"""

from fnmatch import fnmatchcase

ALIGNED = ("ppo", "dpo", "feedme")
REFEREES = ("gold", "judge", "typicality")
OF_EVERY_MODEL = (
    *(f"{name}_score" for name in (*REFEREES, "reward")),
    "response_tokens", "ended_share", "distinct_2", "text_loss", "bits_per_byte",
)  # fmt: skip
OF_ALIGNED = (
    *(f"{name}_win_rate{bound}" for name in REFEREES for bound in ("", "_low", "_high")),
    "kl", "pretrain_loss_increase",
)  # fmt: skip
OF_SFT = ("validation_loss", "validation_loss_ratio", "trained_fraction")
OF_REWARD = (
    "pair_accuracy", "pair_accuracy_low", "pair_accuracy_high", "pairs", "conversations", "calibration_error",
    "pair_accuracy_by_rank_gap.*", "pair_accuracy_by_length.*", "label_ceiling", "share_of_ceiling",
)  # fmt: skip
OF_BEST_OF_N = ("[1-9].kl", *(f"[1-9].{name}_score" for name in (*REFEREES, "reward")))

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
