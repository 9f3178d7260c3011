"""Tinyshakespeare by character in a given wall time, through the pretraining module and Trainer."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.recording import stage_in
from benchmarks.sides import ours_common
from benchmarks.sides.ours_common import NEVER
from components.data.tokens import TokenFileWriter
from components.evaluation.perplexity import token_file_loss
from components.training.fit import fit
from components.training.pretraining import PretrainModule

TRAIN_SHARE = 0.9
SIZE, CONTEXT, BATCH = "4x192x3", 256, 8
TRIAL_STEPS = 12
RESERVE = 0.93  # of the time that is left after the trial steps: later steps took up to 5 % longer
logger = logging.getLogger(__name__)


def start(folder: Path, **options: Any) -> Callable[[], float]:
    """Options: `text`, `seed`, `seconds`. A round trains once; its figure is the loss on the last tenth, in nats."""
    stage = stage_in(
        folder,
        "pretrain",
        {
            "seed": options["seed"],
            "model": {"kind": "nanochat", "shape": SIZE},
            "limits.context_length": CONTEXT,
            "pretrain.batch_size": BATCH,
            "pretrain.validation_interval": NEVER,
            "pretrain.optimizer": _optimizer(),
        },
    )

    characters = _write_tokens(Path(options["text"]), stage.read("tokens"))

    def module() -> PretrainModule:
        torch.manual_seed(options["seed"])
        network = stage.model.network(None, vocab_size=characters, context_length=CONTEXT).train()
        return PretrainModule(stage, network)

    def run_round() -> float:
        started = time.perf_counter()
        steps, seconds = ours_common.train(stage, module(), TRIAL_STEPS)
        trained = module()
        left = options["seconds"] - (time.perf_counter() - started)
        trained.total_steps = int(RESERVE * left / (seconds / len(steps)))
        fit(stage, trained, checkpoint_interval=NEVER)
        took = time.perf_counter() - started
        loss = token_file_loss(trained.loss, trained.validation_tokens, batch_size=BATCH)
        logger.warning("%d steps in %.1f s: %.4f", trained.total_steps, took, loss)
        if took > options["seconds"]:
            raise RuntimeError(f"training took {took:.1f} of {options['seconds']} s: too slow at the end, run again")
        return loss

    return run_round


def _optimizer() -> dict[str, Any]:
    return {
        "name": "muon",
        "learning_rate": 0.006,
        "matrix_learning_rate": 0.014,
        "weight_decay": 0.1,
        "gradient_clip": 1.0,
        "warmup_steps": 20,
        "decay": "linear",
        "decay_fraction": 0.8,
        "final_fraction": 0.0,
    }


def _write_tokens(text: Path, folder: Path) -> int:
    """Token files by character in a folder, the first nine tenths to train on; the number of characters."""
    content = text.read_text()
    characters = sorted(set(content))
    number = {character: place for place, character in enumerate(characters)}
    cut = int(TRAIN_SHARE * len(content))
    for split, part in (("train", content[:cut]), ("validation", content[cut:])):
        writer = TokenFileWriter(folder / f"{split}.json", vocab_size=len(characters), endoftext=0)
        writer.extend([part], [[number[character] for character in part]])
        writer.close()
    return len(characters)
