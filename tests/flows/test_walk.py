"""Stages side by side: real Prefect, real DVC, commands that sleep."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import networkx
import psutil
import pytest
from dvc.repo import Repo
from prefect.client.orchestration import get_client
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.here import bring_up_to_date
from flows.processes import Processes
from flows.walk import startable
from tests.contracts.imports import ROOT
from tests.flows.repository import Repository
from tests.flows.tiny import Tiny
from tests.flows.watching import served, wait_for

SECONDS = 3.0  # longer than two starts of dvc may lie apart


@pytest.mark.parametrize("seed", range(100))
def test_whatever_the_graph_each_stage_starts_once_after_its_inputs_and_as_early_as_the_limit_allows(seed):
    rng = random.Random(seed)
    names = [f"s{number}" for number in range(rng.randint(1, 9))]
    graph = networkx.DiGraph()
    graph.add_nodes_from(names)
    graph.add_edges_from((a, b) for i, a in enumerate(names) for b in names[i + 1 :] if rng.random() < 0.3)
    left_out = rng.choice([None, *names])  # and what it is made from: they stay as they lie
    stages = [n for n in names if left_out is None or n not in {left_out, *networkx.ancestors(graph, left_out)}]
    limit = rng.randint(1, 4)
    done, running, began = {}, set(), []

    def may(stage):
        return all(before in done or before not in stages for before in graph.predecessors(stage))

    while len(done) < len(stages):
        starting = startable(graph, stages, done.keys(), running, limit)
        assert all(may(stage) for stage in starting) and not {*starting} & {*began}
        began += starting
        running |= {*starting}
        assert 0 < len(running) <= limit
        idle = [stage for stage in stages if stage not in began and may(stage)]
        assert len(running) == limit or not idle
        finished = rng.choice(sorted(running))
        running.remove(finished)
        done[finished] = True
    assert sorted(began) == sorted(stages)
    assert limit > 1 or began == stages


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Where Prefect's server is."""
    with served(Repository(tmp_path_factory.mktemp("server"))) as repository:
        yield repository.environment


@pytest.fixture
def walk(server):
    """Start a flow that walks a repository in a process of its own; whatever is left of it is ended."""
    started = []

    def start(tiny, at_once):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.flows.tiny", str(tiny.root), str(at_once)],
            cwd=ROOT, env=server, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def finish(process):
    """The exit status of a flow, what it printed, and what it said of its stages."""
    output, _ = process.communicate(timeout=120)
    last = output.splitlines()[-1]
    return process.returncode, output, json.loads(last) if last.startswith("{") else {}


def overlap(times, one, other):
    return min(times[one][1], times[other][1]) - max(times[one][0], times[other][0])


def commands(tiny):
    """The processes that work in the repository."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(tiny.root) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def test_at_two_independent_stages_overlap_and_dvc_lock_has_both(walk, tmp_path):
    tiny = Tiny(tmp_path / "home", {"left": "", "right": "", "last": "left right"}, left=SECONDS, right=SECONDS)
    status, output, said = finish(walk(tiny, 2))
    assert status == 0, output
    assert said == dict.fromkeys(("left", "right", "last"), "Completed: dvc: completed")
    times = tiny.times()
    assert overlap(times, "left", "right") > 0
    assert times["last"][0] >= max(times["left"][1], times["right"][1])
    assert tiny.recorded() == {"left", "right", "last"}
    assert "up to date" in tiny.dvc("status")


def test_at_one_they_take_turns_in_the_order_of_the_graph(walk, tmp_path):
    tiny = Tiny(tmp_path / "home", {"right": "", "left": "", "last": "left right"}, left=1.0, right=1.0)
    status, output, said = finish(walk(tiny, 1))
    assert status == 0, output
    assert list(said) == ["left", "right", "last"]
    assert overlap(tiny.times(), "left", "right") < 0
    assert tiny.recorded() == {"left", "right", "last"}


def test_only_what_follows_a_stage_that_did_something_is_asked_about_again(walk, tmp_path):
    tiny = Tiny(tmp_path / "home", {"a": "", "b": "a", "c": "a", "d": "b c", "e": ""})
    assert finish(walk(tiny, 2))[0] == 0
    tiny.change(b=2)
    _, output, said = finish(walk(tiny, 1))
    assert said == {
        "a": "Cached: unchanged", "b": "Completed: dvc: completed", "c": "Cached: unchanged",
        "d": "Completed: dvc: completed", "e": "Cached: unchanged",
    }, output  # fmt: skip
    shutil.rmtree(tiny.root / "out")
    _, output, said = finish(walk(tiny, 1))
    assert said == dict.fromkeys("abcde", "Restored: dvc: restored"), output
    assert (tiny.root / "out/d/text").exists()
    _, output, said = finish(walk(tiny, 1))
    assert said == dict.fromkeys("abcde", "Cached: unchanged"), output


def test_after_a_failure_what_runs_ends_and_nothing_starts(walk, tmp_path):
    tiny = Tiny(tmp_path / "home", {"bad": "", "good": "", "later": "good", "other": ""}, bad=-1, good=SECONDS)
    status, output, _ = finish(walk(tiny, 2))
    assert status == 1 and output.splitlines()[-1].startswith("bad failed; ")
    assert "Waiting for good, which still runs" in output
    assert tiny.recorded() == {"good"}
    assert not (tiny.root / "begun-later").exists() and not (tiny.root / "begun-other").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_ends_a_flow_ends_all_its_stages(walk, server, tmp_path, number):
    tiny = Tiny(tmp_path / "home", {"left": "", "right": "", "last": "left right"}, left=600, right=600)
    flow = walk(tiny, 2)
    wait_for(lambda: all((tiny.root / f"begun-{name}").exists() for name in ("left", "right")))
    assert commands(tiny)
    begun = time.monotonic()
    os.kill(flow.pid, number)
    status, output, _ = finish(flow)
    assert status != 0 and time.monotonic() - begun < 30, output
    assert commands(tiny) == [] and tiny.recorded() == set()
    assert not (tiny.root / "begun-last").exists()
    with temporary_settings({PREFECT_API_URL: server["PREFECT_API_URL"]}), get_client(sync_client=True) as client:
        newest = client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=1)[0]
        tasks = client.read_task_runs()
    ours = {task.name: task.state.name for task in tasks if task.flow_run_id == newest.id}
    assert newest.state.name == "Crashed" and ours == {"left": "Crashed", "right": "Crashed"}
    tiny.dvc("status")  # no lock is left


def test_a_stage_that_ends_while_the_lock_is_held_waits_and_is_recorded(tmp_path):
    """DVC gives up after three seconds if it is not told to wait, and forgets what the stage has made."""
    tiny = Tiny(tmp_path / "home", {"one": ""}, one=1.0)
    other, lines = Repo(str(tiny.root)), []

    def release():
        wait_for((tiny.root / "times.txt").exists)
        time.sleep(4)
        lines.append(f"recorded: {tiny.recorded()}")
        other.lock.unlock()

    def read(line):
        lines.append(line)
        if line.startswith("> "):  # DVC says so before it gives the lock up for the command's time
            wait_for((tiny.root / "begun-one").exists)
            other.lock.lock()
            threading.Thread(target=release).start()

    result = bring_up_to_date("one", tiny.workspace, parent_run="", force=False, on_line=read, processes=Processes())
    assert result.outcome == "Completed", lines
    assert "recorded: set()" in lines and tiny.recorded() == {"one"}
