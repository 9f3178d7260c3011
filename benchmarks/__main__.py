"""Our road beside its peers on this machine: every figure a ratio within one run, sides taking turns.

python -m benchmarks                                     # everything that can run: about an hour on two cores
python -m benchmarks --only pretraining generation       # some
python -m benchmarks --nanogpt ../nanoGPT                # with a checkout of nanoGPT; else transformers stands in
python -m benchmarks --shakespeare input.txt             # with tinyshakespeare: loss after five minutes

Results: benchmarks/results/ (.json, .md and .png of each machine), where groups that are not run again keep their rows;
and a run in MLflow. Exits with 1 if a benchmark broke; a goal that is missed is shown, and is no failure.
"""

import argparse
import dataclasses
import datetime
import os
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import absolute, cases, machine, overhead, report, serving, workload
from benchmarks.harness import compete
from benchmarks.report import Row
from components import mlflow_store

ROOT = Path(__file__).parents[1]
WORK = ROOT / ".lineage/benchmarks"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(GROUPS), default=list(GROUPS), metavar="GROUP")
    parser.add_argument("--nanogpt", type=_path, help="folder of a nanoGPT checkout")
    parser.add_argument("--shakespeare", type=_path, help="tinyshakespeare's input.txt")
    parser.add_argument("--out", type=_path, default=report.RESULTS, help="where the results go")
    arguments = parser.parse_args()
    if arguments.nanogpt and not (arguments.nanogpt / "model.py").exists():
        sys.exit(f"{arguments.nanogpt} is no checkout of nanoGPT: it has no model.py")
    WORK.mkdir(parents=True, exist_ok=True)
    os.chdir(WORK)  # sides and the workload read and write below it
    workload.build(WORK)
    about = machine.describe() | {"date": datetime.datetime.now(datetime.UTC).date().isoformat()}
    name, arguments.faster = machine.name(about), machine.faster(about)
    rows = report.kept(arguments.out, name, arguments.only)
    for group in arguments.only:
        rows += [dataclasses.replace(row, group=group) for row in GROUPS[group](arguments)]
        rows.sort(key=lambda row: list(GROUPS).index(row.group))
        report.write(rows, about, arguments.out, name)
    os.chdir(ROOT)
    print(report.table(rows))
    mlflow_store.log_study("benchmarks", arguments.out, about)
    sys.exit(any(row.trouble for row in rows if row.group in arguments.only))


def _path(text: str) -> Path:
    """A path as the user's working directory has it; the suite changes its own."""
    return Path(text).resolve()


def _compare(found: list[cases.Case]) -> list[Row]:
    rows = []
    for case in found:
        print(f"{case.name} ...", flush=True)
        alone = [goal.settings[0] for goal in case.goals if len(goal.settings) == 1]
        new = report.rows_of(case, compete((case.ours, *case.peers), WORK, rounds=case.rounds, always=alone))
        print(report.table(new), flush=True)
        rows += new
    return rows


def _pretraining(arguments: argparse.Namespace) -> list[Row]:
    rows = _compare(cases.pretraining(arguments.nanogpt))
    return [*rows, *absolute.utilisation(rows)]


def _preparation(_: argparse.Namespace) -> list[Row]:
    workload.documents(WORK, cases.SMALL_TEXT)
    return [*_compare(cases.preparation()), absolute.prepare_memory(WORK)]


def _adopted(arguments: argparse.Namespace) -> list[Row]:
    return _compare(cases.adopted(arguments.faster)) if workload.adopted(WORK) else []


GROUPS: dict[str, Callable[[argparse.Namespace], list[Row]]] = {
    "pretraining": _pretraining,
    "shakespeare": lambda arguments: absolute.shakespeare(WORK, arguments.shakespeare),
    "sft": lambda _: _compare(cases.fine_tuning()),
    "reward": lambda _: _compare(cases.reward_model()),
    "ppo": lambda arguments: _compare(cases.ppo(arguments.faster)),
    "generation": lambda arguments: _compare(cases.generation(arguments.faster)),
    "smollm2": _adopted,
    "preparation": _preparation,
    "treatment": lambda _: [*absolute.treatment(WORK), absolute.treatment_memory(WORK)],
    "overhead": lambda _: overhead.rows(),
    "serving": lambda _: serving.rows(WORK),
}

if __name__ == "__main__":
    main()
