"""A node of a pipeline as a command: what DVC runs."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from components import process
from components.pipelines import DEFAULT, OpenPipeline, PipelineError, open_pipeline

ADVICE = (
    "Parameters come from the pipeline's params.yaml. Start a node by `dvc repro <node>` or a flow, so that its result "
    "is recorded; one that was stopped goes on from its last checkpoint."
)


def main(arguments: Sequence[str]) -> None:
    """Run the node that the command line names."""
    first = argparse.ArgumentParser(add_help=False)
    first.add_argument("--pipeline", default=DEFAULT, metavar="NAME", help="a pipeline's name, or its folder")
    asked, rest = first.parse_known_args(arguments)
    try:
        pipeline = open_pipeline(asked.pipeline)
    except PipelineError as error:
        sys.exit(str(error))
    node = _parser(pipeline, first).parse_args(rest).node
    process.stop_collecting()  # until the stage begins (components.runtime)
    process.load_few_metrics()
    importlib.import_module("components.runtime").run_stage(node, pipeline)


def _parser(pipeline: OpenPipeline, first: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m components.stages", description=__doc__, epilog=ADVICE, parents=[first]
    )
    nodes = parser.add_subparsers(dest="node", required=True, metavar="NODE")
    for name, each in pipeline.nodes.items():
        doc = sys.modules[pipeline.stages[name].run.__module__].__doc__ or each.stage
        nodes.add_parser(
            name,
            help=doc.splitlines()[0],
            description=doc,
            epilog=ADVICE,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
