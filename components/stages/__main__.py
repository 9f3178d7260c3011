"""A stage as a command: what DVC runs."""

import argparse
import ast
import gc
import importlib
from pathlib import Path

from components.lineage import STAGES

ADVICE = (
    "Parameters come from params.yaml. Start a stage by `dvc repro <stage>` or a flow, so that its result is recorded; "
    "one that was stopped goes on from its last checkpoint."
)


def main() -> None:
    """Load the stage that the command line names, and run it."""
    stage = _parser().parse_args().stage
    # Loading torch, lightning and mlflow makes a million objects and next to no garbage, which Python's collector looks
    # for again and again: 1.6 of 7.6 s. The stage switches it on when it has started.
    gc.disable()
    module = importlib.import_module(f"components.stages.{stage}")
    importlib.import_module("components.runtime").run_stage(stage, getattr(module, stage))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m components.stages", description=__doc__, epilog=ADVICE)
    stages = parser.add_subparsers(dest="stage", required=True, metavar="STAGE")
    for stage in STAGES:
        source = Path(__file__).with_name(f"{stage}.py").read_text()
        doc = ast.get_docstring(ast.parse(source)) or ""  # without its imports, so that help comes at once
        stages.add_parser(
            stage,
            help=doc.splitlines()[0],
            description=doc,
            epilog=ADVICE,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    return parser


if __name__ == "__main__":
    main()
