"""Figures that stand alone: share of the machine's rate, memory against the size of the text, loss in five minutes."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import machine, workload
from benchmarks.cases import LARGE_TEXT, PRETRAIN_SIZES, SMALL_TEXT, VOCABULARY
from benchmarks.harness import Side, compete
from benchmarks.report import Row

SEEDS = (1337, 1338, 1339)
MINUTES = 5
TREATED = (200, 2000)  # megabytes of documents, for memory
TIMED = 50
TREATMENT_GOALS = {  # MB/s in one process
    "exact_duplicates": 100.0, "near_duplicates": 8.0, "contamination": 8.0, "quality": 12.0, "prepared": 1.3,
}  # fmt: skip


def flops_per_token(size: dict[str, int], vocabulary: int) -> int:
    """Operations of forward and backward for one token: 6 N + 12 L T D (PaLM, arXiv:2204.02311, appendix B).

    N counts the weights that multiply: 12 L D^2 + V D, the tied head once.
    """
    layers, width, context = size["layers"], size["width"], size["context"]
    return 6 * (12 * layers * width**2 + vocabulary * width) + 12 * layers * context * width


def utilisation(rows: Sequence[Row]) -> list[Row]:
    """Our larger pretraining run's share of the machine's own matrix-product rate, in the faster of its types."""
    name, size = list(PRETRAIN_SIZES.items())[-1]
    ours = [row.ours for row in rows if row.name.endswith(name) and row.ours is not None]
    if not ours:
        return []
    rate = max(machine.product_gflops(dtype) for dtype in (torch.float32, torch.bfloat16))
    share = 100 * ours[0] * flops_per_token(dict(size), VOCABULARY) / 1e9 / rate
    return [Row(f"share of the matrix-product rate, {name}", "%", share, ">= 80 %", share >= 80)]


def prepare_memory(folder: Path) -> Row:
    """Peak memory of prepare on a hundred times the text, against that on the smaller one."""
    peaks = []
    for megabytes in (SMALL_TEXT, LARGE_TEXT):
        workload.documents(folder, megabytes)
        side = Side("ours", "ours_prepare", {"megabytes": megabytes, "vocabulary": VOCABULARY})
        (result,) = compete([side], folder, rounds=1, warm_up=False)
        if result.trouble:
            return Row("prepare: memory", "GiB", None, "flat", None, trouble=result.trouble)
        peaks.append(result.peak_gib)
    growth = peaks[1] / peaks[0]
    name = f"prepare: peak memory, {LARGE_TEXT} MB of text against {SMALL_TEXT}"
    return Row(name, "x", growth, "flat (<= 1.5 x)", growth <= 1.5, note=f"{peaks[0]:.2f} and {peaks[1]:.2f} GiB")


def treatment(folder: Path) -> list[Row]:
    """Our treatment of documents, step by step, then whole with a vocabulary of 50k."""
    rows = []
    workload.crawl(folder, TIMED)
    for step, goal in TREATMENT_GOALS.items():
        options = {"megabytes": TIMED, "step": step, "vocabulary": 50_000}
        (result,) = compete([Side("ours", "ours_treat", options)], folder, rounds=3)
        name = f"treatment: {step.replace('_', ' ')}"
        if result.trouble:
            rows.append(Row(name, "MB/s", None, f">= {goal}", None, trouble=result.trouble))
            continue
        rows.append(Row(name, "MB/s", result.median, f">= {goal}", result.median >= goal))
    return rows


def treatment_memory(folder: Path) -> Row:
    """Peak memory of a treatment on ten times the text, against that on the smaller one."""
    peaks = []
    for megabytes in TREATED:
        workload.crawl(folder, megabytes)
        options = {"megabytes": megabytes, "step": "all"}
        (result,) = compete([Side("ours", "ours_treat", options)], folder, rounds=1, warm_up=False)
        if result.trouble:
            return Row("treatment: memory", "GiB", None, "flat", None, trouble=result.trouble)
        peaks.append(result.peak_gib)
    growth, note = peaks[1] / peaks[0], f"{peaks[0]:.2f} and {peaks[1]:.2f} GiB"
    name = f"treatment: peak memory, {TREATED[1]} MB of text against {TREATED[0]}"
    return Row(name, "x", growth, "flat (<= 1.3 x)", growth <= 1.3, note=note)


def shakespeare(folder: Path, text: Path | None) -> list[Row]:
    """Validation loss by character after five minutes of wall time, over seeds."""
    name, goal = f"tinyshakespeare: nats a character after {MINUTES} minutes", "<= 1.47"
    if text is None or not text.exists():
        return [Row(name, "nats", None, goal, None, note="no text given (SHAKESPEARE=path)")]
    losses: list[float] = []
    folder = folder / "shakespeare"  # of its own: its token files are named as the corpus's
    folder.mkdir(exist_ok=True)
    for seed in SEEDS:
        options: dict[str, Any] = {"text": str(text.resolve()), "seed": seed, "seconds": 60 * MINUTES}
        (result,) = compete([Side("ours", "ours_shakespeare", options)], folder, rounds=1, warm_up=False)
        if result.trouble:
            return [Row(name, "nats", None, goal, None, trouble=result.trouble)]
        losses += result.rates
    middle = statistics.mean(losses)
    note = f"seeds {SEEDS[0]} to {SEEDS[-1]}: {', '.join(f'{loss:.4f}' for loss in losses)}"
    return [Row(name, "nats", middle, goal, middle <= 1.47, note=note)]
