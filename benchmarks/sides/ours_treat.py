"""Our treatment of documents, a step or the whole with `prepare`: megabytes of text a second in one process."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from benchmarks.recording import ROOT, stage_in
from components.data.preparation import prepare
from components.data.treating.documents import Treating, read_shards
from components.data.treating.steps import treat
from components.data.workers.local import here
from components.pipelines import open_pipeline
from components.stages.treat import Treat
from components.tracking import SilentTracker
from components.work import Work


class _Fed(Work[Treat]):
    """A treatment of the documents below a folder."""

    def read(self, name: str) -> Path:
        return self.out.parent / "data"


def _section(items: Path) -> Treat:
    """The steps of pipeline gpt3-data."""
    given = {
        "steps": [
            {"kind": "exact_duplicates"},
            {"kind": "near_duplicates"},
            {"kind": "contamination", "against": [{"name": "items", "file": str(items)}]},
            {"kind": "quality", "reference": ["reference"], "corpora": ["crawl"]},
        ],
        "workers": {"kind": "local"},
    }
    return TypeAdapter(Treat).validate_json(json.dumps(given))


def start(folder: Path, **options: Any) -> Callable[[], float]:
    """Documents of `folder/crawl-N`, N the option `megabytes`; `step` is `read`, a kind, `all`, or `prepared`."""
    home = folder / f"crawl-{options['megabytes']}"
    files = sorted((home / "data/documents").glob("*.jsonl"))
    size = sum(file.stat().st_size for file in files) / 1e6
    section, pipeline = _section(home / "items.jsonl"), open_pipeline("gpt3-data", ROOT)
    chosen = [step for step in section.steps if step.kind == options["step"]]

    def around(name: str) -> Treating:
        (home / "state" / name).mkdir(parents=True)
        return Treating(home / "state" / name, here, section.memory_mb, 1, home / "state/items")

    def run_round() -> float:
        for name in ("state", "treated"):
            shutil.rmtree(home / name, ignore_errors=True)
        started = time.perf_counter()
        if chosen or options["step"] == "read":
            shards = read_shards(files, around("read"))
            if chosen:
                started = time.perf_counter()
                chosen[0].apply(shards, around("step"))
            return size / (time.perf_counter() - started)
        tracker = SilentTracker("treat", pipeline, {}, state=home / "state", artifacts=home)
        work = _Fed("treat", pipeline, section, {"seed": 1}, home / "treated", home / "state", home / "state", tracker)
        treat(work)
        if options["step"] == "prepared":
            (home / "treated/records").rename(home / "treated/data")
            os.chdir(home / "treated")
            prepare(stage_in(home / "treated", "prepare", {"prepare.vocab_size": options["vocabulary"]}))
            os.chdir(folder)
        return size / (time.perf_counter() - started)

    return run_round
