"""Serve the registered models to any OpenAI client, and the pages, until Ctrl-C.

    python -m components.web                                     # http://127.0.0.1:8000/v1
    python -m components.web --model gpt-ppo --model gpt-sft/3   # load these at once, not when they are asked for
    python -m components.web --host 0.0.0.0 --token SECRET --allow-host mymachine

From Python: OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="none").chat.completions.create(model="gpt-ppo", ...).
Models are MLflow's: name (the champion, else the newest), name@alias, name/version. docs/serving.md has the rest.
"""

import argparse
import asyncio
import ipaddress
import logging
import sys
from functools import partial
from pathlib import Path

import torch
import uvicorn

from components.inference.catalogue import Catalogue, UnknownModel, identity
from components.inference.engine import QUEUE, SLOTS
from components.inference.pool import MODELS, Pool, load_version
from components.labeling.journal import PATH
from components.web.app import make_app
from components.web.connection import PromptH11
from components.web.desk import Desk
from components.web.guard import LOOPBACK
from components.web.lineage import Links
from components.web.people import labelers
from components.web.service import Service

PORT = 8000
STOP_SECONDS = 5
THREADS = 1  # of torch: from 8 rows up one is faster than two, and the other core has the connections


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m components.web", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = made.add_argument
    add("--host", default="127.0.0.1", help="address to listen on; where others can connect --token is needed")
    add("--port", type=int, default=PORT, help=f"(default: {PORT})")
    add("--token", help="what clients must send as their API key")
    add("--allow-host", action="append", default=[], metavar="NAME", help="a further name of this server; repeatable")
    add("--model", action="append", default=[], metavar="ID", help="load it before the first request; repeatable")
    add("--models", type=int, default=MODELS, help=f"how many stay loaded (default: {MODELS})")
    add("--slots", type=int, default=SLOTS, help=f"replies that a model makes at a time (default: {SLOTS})")
    add("--queue", type=int, default=QUEUE, help=f"replies that may wait; beyond it, status 429 (default: {QUEUE})")
    add("--labels", type=Path, default=PATH, metavar="FILE", help=f"journal of labelling (default: {PATH})")
    add("--labeler", action="append", default=[], metavar="NAME=TOKEN", help="a labeler with a token of their own")
    add("--mlflow", metavar="URL", help="where MLflow's pages are, for links")
    add("--prefect", metavar="URL", help="where Prefect's pages are, for links")
    add("--threads", type=int, default=THREADS, help=f"of torch (default: {THREADS})")
    return made


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def problems(arguments: argparse.Namespace) -> list[str]:
    """What is wrong with a command line."""
    counts = {name: getattr(arguments, name) for name in ("models", "slots", "queue", "threads")}
    found = [f"--{name} is {value}, not 1 or more" for name, value in counts.items() if value < 1]
    if not is_loopback(arguments.host) and not arguments.token:
        found.append(f"--host {arguments.host} lets other machines connect: choose a --token that they must send")
    if len(arguments.model) > arguments.models:
        found.append(f"{len(arguments.model)} models do not fit into --models {arguments.models}")
    return found


async def serve(arguments: argparse.Namespace) -> None:
    """Serve until a signal.

    Raises:
        UnknownModel: a --model is not registered.
        CheckpointError: it cannot be loaded.
    """
    post = asyncio.get_running_loop().call_soon_threadsafe
    load = partial(load_version, slots=arguments.slots, queue=arguments.queue, post=post)
    service = Service(Pool(load, models=arguments.models), Catalogue())
    for model in arguments.model:
        lease = service.pool.take(identity(service.catalogue.find(model)))
        await asyncio.wrap_future(lease.future)
        lease.give_back()
    hosts = (*LOOPBACK, arguments.host, f"[{arguments.host}]", *arguments.allow_host)
    config = uvicorn.Config(
        make_app(
            service, hosts=hosts, token=arguments.token, desk=Desk(arguments.labels),
            labelers=labelers(arguments.labeler), links=Links(arguments.mlflow, arguments.prefect),
        ),
        host=arguments.host, port=arguments.port,
        http=PromptH11, ws="none", lifespan="on", log_level="warning", access_log=False, server_header=False,
        proxy_headers=False, timeout_graceful_shutdown=STOP_SECONDS, date_header=True,
    )  # fmt: skip
    shown = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
    print(f"http://{shown}:{arguments.port}/v1  (Ctrl-C stops it)", flush=True)
    await uvicorn.Server(config).serve()


def main() -> None:
    """The command line."""
    arguments = parser().parse_args()
    if wrong := problems(arguments):
        sys.exit("; ".join(wrong))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("components.web").setLevel(logging.INFO)
    torch.set_num_threads(arguments.threads)
    try:
        asyncio.run(serve(arguments))
    except (UnknownModel, ValueError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print()


if __name__ == "__main__":
    main()
