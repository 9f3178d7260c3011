"""A reward model by TRL's RewardTrainer, in pairs per second: every pair of a prompt's replies is one example.

A pair is two rows of prompt and reply, so a reply goes through the model once for each of its K - 1 pairs; TRL knows no
other way. Pairs are shuffled, `batch` a step.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import GPT2ForSequenceClassification
from trl import RewardConfig, RewardTrainer

from benchmarks.sides.trl_common import load_tokenizer, quieten, scoring_config, time_training, training_arguments


def start(folder: Path, **options: Any) -> Callable[[], float]:
    """Load the rankings of `reward-K.json`; a round trains a new model on their pairs."""
    quieten()
    tokenizer, data = load_tokenizer(folder), _load(folder / f"reward-{options['replies']}.json")
    config = scoring_config(options, tokenizer)

    def build(output_dir: str) -> RewardTrainer:
        arguments = RewardConfig(
            output_dir, **training_arguments(options), max_length=None
        )  # the rows are short enough
        model = GPT2ForSequenceClassification(config)
        return RewardTrainer(model, arguments, train_dataset=data, processing_class=tokenizer)

    return lambda: options["steps"] * options["batch"] / time_training(build).seconds


def _load(path: Path) -> Dataset:
    return Dataset.from_list([pair for comparison in json.loads(path.read_text()) for pair in _pairs(comparison)])


def _pairs(comparison: Mapping[str, Any]) -> Iterator[dict[str, list[int]]]:
    """All pairs of a prompt's replies."""
    prompt, ranked = comparison["prompt"], sorted(zip(comparison["ranks"], comparison["replies"], strict=True))
    for (_, chosen), (_, rejected) in combinations(ranked, 2):
        yield {"chosen_ids": prompt + chosen, "rejected_ids": prompt + rejected}
