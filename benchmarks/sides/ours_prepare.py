"""Our prepare, the whole stage: megabytes of text a second from JSONL to token files, tokenizer trained on the way."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.recording import stage_in
from components.data.preparation import prepare


def start(folder: Path, **options: Any) -> Callable[[], float]:
    """Documents from `folder/documents-N/data`, N the option `megabytes`."""
    work = folder / f"documents-{options['megabytes']}"
    size = (work / "data/documents/part-00000.jsonl").stat().st_size / 1e6

    def run_round() -> float:
        shutil.rmtree(work / "artifacts", ignore_errors=True)
        os.chdir(work)
        stage = stage_in(work, "prepare", {"prepare.vocab_size": options["vocabulary"]})
        started = time.perf_counter()
        prepare(stage)
        return size / (time.perf_counter() - started)

    return run_round
