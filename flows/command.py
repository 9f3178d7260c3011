"""Triggering a flow from the command line."""

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from components import process
from components.loopback import spare_loopback
from components.params import ParamsError, parse_value
from components.pipelines import DEFAULT
from flows.checks import SetupError, check
from flows.parent_run import tracking
from flows.plan import print_plan
from flows.server import ServerError, prefect_server
from flows.summary import print_summary
from flows.walk import StageFailed


def trigger(flow: Callable[..., dict[str, str]], description: str | None) -> None:
    """Parse the command line, run the flow, print what it did. Exits non-zero if it failed."""
    arguments = _parser(description).parse_args()
    options: dict[str, Any] = {"preset": arguments.preset, "overrides": dict(arguments.set)}
    options["pipeline"] = arguments.pipeline
    options |= {"until": arguments.until, "from_stage": arguments.from_stage, "force": arguments.force}
    options["at_once"] = arguments.at_once
    if arguments.plan:
        _plan(options)
        return
    status = process.leave_after_exit_handlers()
    outcomes = run_flow(flow, **options)
    print_summary(outcomes, _check(options))
    status["code"] = 0


def run_flow(flow: Callable[..., dict[str, str]], **options: Any) -> dict[str, str]:
    """Run a flow as a command; an error is a sentence and a non-zero exit.

    What can be wrong with the options is found before anything starts.
    """
    os.environ.setdefault("DO_NOT_TRACK", "true")
    spare_loopback()
    try:
        _check(options)
        _end_as_with_ctrl_c()
        threading.Thread(target=_warm_up, daemon=True).start()
        with prefect_server():
            return flow(**options)
    except KeyboardInterrupt as error:
        sys.exit(f"stopped; {_note(error) or 'the same command goes on'}")
    except StageFailed as error:
        sys.exit(f"\n{error.last_lines}\n\n{error}")
    except (SetupError, ServerError, ParamsError, ValueError) as error:
        sys.exit(f"\n{error}")


def _check(options: dict[str, Any]) -> Any:
    return check(
        options.get("preset", "default"), options.get("overrides") or {}, pipeline=options.get("pipeline", DEFAULT),
        until=options.get("until"), start=options.get("from_stage"), force=options.get("force", ()),
    )  # fmt: skip


def _plan(options: dict[str, Any]) -> None:
    try:
        workspace = _check(options)
        print_plan(workspace, until=options["until"], start=options["from_stage"], force=options["force"])
    except (SetupError, ParamsError, ValueError) as error:
        sys.exit(f"\n{error}")


def _end_as_with_ctrl_c() -> None:
    """Clear up at SIGTERM, and when the terminal is closed, as at Ctrl-C; what is ignored, as by nohup, stays so."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)


def _note(error: BaseException | None) -> str | None:
    """What the flow noted on the exception that ended it; Prefect may have raised another one since."""
    while error is not None:
        for note in getattr(error, "__notes__", ()):
            return str(note)
        error = error.__cause__ or error.__context__
    return None


def _parser(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--pipeline",
        default=DEFAULT,
        metavar="NAME",
        help="one of pipelines/, or the folder of your own with a pipeline.py and a params.yaml (docs/extending.md)",
    )
    parser.add_argument("--preset", default="default", metavar="NAME", help="a named set of values in params.yaml")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=assignment,
        metavar="SECTION.KEY=VALUE",
        help="another value for one parameter, as YAML; may be repeated",
    )
    parser.add_argument(
        "--force", action="append", default=[], metavar="STAGE", help="run a stage though nothing changed; repeatable"
    )
    parser.add_argument("--plan", action="store_true", help="say what would run and why, and run nothing")
    parser.add_argument("--until", metavar="STAGE", help="end with a stage: run it and what it needs that is stale")
    parser.add_argument(
        "--from", dest="from_stage", metavar="STAGE", help="begin at a stage and leave those before it as they lie"
    )
    parser.add_argument(
        "--at-once",
        type=_count,
        default=1,
        metavar="N",
        help="how many stages may run at the same time once what they use is there, such as those that align one model "
        "in different ways (default 1: trainings that share cores or a GPU take longer side by side than in turn)",
    )
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of stages, such as 2")
    return int(text)


def assignment(text: str) -> tuple[str, Any]:
    """A parameter and its value, as the command line writes them."""
    key, separator, value = text.partition("=")
    if not separator or ("." not in key and key != "seed"):
        raise argparse.ArgumentTypeError(f"{text!r} is not SECTION.KEY=VALUE, such as ppo.kl_coef=0.1")
    try:
        return key, parse_value(value)
    except ParamsError as error:
        raise argparse.ArgumentTypeError(f"{key}: {error}") from None


def _warm_up() -> None:
    """Import what the flow needs, and open the store, while it waits for Prefect's server to start."""
    process.stop_collecting()
    import dvc.repo  # noqa: F401, PLC0415

    with contextlib.suppress(Exception):  # whatever MLflow raises: it is met again, and told, when the store is used
        tracking().store.connect()
    process.collect_again()
