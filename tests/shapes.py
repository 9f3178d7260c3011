"""Annotations of public functions that take tensors are checked at every call of a test, and at none of a stage."""

from functools import wraps
from typing import Any

import torch
from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

# What is checked, by module or by package: all whose public functions take or give tensors.
CHECKED = (
    "components.losses",
    "components.models",
    "components.data.comparisons",
    "components.data.demonstrations",
    "components.data.sequences",
    "components.data.tokens",
    "components.evaluation.beam",
    "components.evaluation.classes",
    "components.evaluation.likelihood",
    "components.evaluation.perplexity",
    "components.inference",
    "components.rl",
    "components.training.muon",
    "components.training.optim",
)
LIKE_MYPY = BeartypeConf(is_pep484_tower=True)  # a whole number may stand where a float is asked for


def checked(function: Any) -> Any:
    """What refuses the arguments, and the result, that a function's annotations do not allow.

    It leaves what torch.compile traces alone: traced, it would refuse what is right.
    """
    refusing = beartype(function, conf=LIKE_MYPY)

    @wraps(refusing)
    def unless_traced(*args: Any, **kwargs: Any) -> Any:
        return None if torch.compiler.is_compiling() else refusing(*args, **kwargs)

    return unless_traced


def check() -> None:
    """Have the modules checked; to be called before they are imported."""
    install_import_hook(CHECKED, f"{__name__}.checked")
