"""Triggering a flow from the command line."""

import argparse
import atexit
import contextlib
import gc
import os
import sys
import threading
import urllib.request
from collections.abc import Callable
from typing import Any

from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from components.params import ParamsError, parse_value
from flows.parent_run import tracking
from flows.processes import FLOW_VARIABLE
from flows.road import StageFailed
from flows.summary import print_summary

LOCAL_SERVER = "http://127.0.0.1:4200/api"


def trigger(flow: Callable[..., dict[str, str]], description: str | None, *, whole_road: bool = False) -> None:
    """Parse the command line, run the flow, print what it did. Exits non-zero if it failed."""
    arguments = _parser(description, whole_road=whole_road).parse_args()
    status = _leave_at_once()
    options: dict[str, Any] = {"preset": arguments.preset, "overrides": dict(arguments.set)}
    options |= {"force": arguments.force}
    if whole_road:
        options["from_stage"] = arguments.from_stage
    outcomes = run_flow(flow, **options)
    print_summary(outcomes, arguments.preset, dict(arguments.set))
    status["code"] = 0


def run_flow(flow: Callable[..., dict[str, str]], **options: Any) -> dict[str, str]:
    """Run a flow as a command, on the server of `make ui` if it is up; an error is a sentence and a non-zero exit."""
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ[FLOW_VARIABLE] = "1"
    threading.Thread(target=_warm_up, daemon=True).start()
    try:
        # A heartbeat would cost every flow a second at its end; the next flow finds out who died (road.reconcile).
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None, **_server()}):
            return flow(**options)
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from the last checkpoint")
    except StageFailed as error:
        sys.exit(f"\n{error.last_lines}\n\n{error}")
    except (ParamsError, ValueError) as error:
        sys.exit(f"\n{error}")


def _parser(description: str | None, *, whole_road: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
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
    if whole_road:
        parser.add_argument(
            "--from", dest="from_stage", metavar="STAGE", help="begin at a stage and leave those before it as they lie"
        )
    return parser


def assignment(text: str) -> tuple[str, Any]:
    """A parameter and its value, as the command line writes them."""
    key, separator, value = text.partition("=")
    if not separator or ("." not in key and key != "seed"):
        raise argparse.ArgumentTypeError(f"{text!r} is not SECTION.KEY=VALUE, such as ppo.kl_coef=0.1")
    try:
        return key, parse_value(value)
    except ParamsError as error:
        raise argparse.ArgumentTypeError(f"{key}: {error}") from None


def _leave_at_once() -> dict[str, int]:
    """End this process, with the status that is in the dict by then, after all else that has been asked to run at exit.

    Prefect's logs are sent and its server is stopped by then. What remains, taking prefect, mlflow and dvc apart, takes
    the interpreter 1.4 s.
    """
    status = {"code": 1}

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status["code"])

    atexit.register(leave)  # the first to be registered is the last to be called
    return status


def _server() -> dict[Any, Any]:
    """Use the server of `make ui` where it runs: a second server on the same database would fight with it."""
    if os.environ.get("PREFECT_API_URL"):
        return {}
    try:
        with urllib.request.urlopen(f"{LOCAL_SERVER}/health", timeout=0.5):
            return {PREFECT_API_URL: LOCAL_SERVER}
    except OSError:
        return {}


def _warm_up() -> None:
    """Import what the flow needs, and open the store, while it waits for Prefect's server to start."""
    gc.disable()  # imports make many objects and hardly any garbage; looking for it took a fifth of their time
    import dvc.repo  # noqa: F401, PLC0415

    with contextlib.suppress(Exception):  # whatever MLflow raises: it is met again, and told, when the store is used
        tracking().store.connect()
    gc.freeze()
    gc.enable()
