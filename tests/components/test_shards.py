"""A function over shards: the same bytes whoever works, and nothing of a shard that was not finished."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from functools import partial

import psutil
import pytest

from components.data.shards import map_shards
from components.data.workers.local import LocalWorkers, here
from components.data.workers.ray import RayWorkers
from tests.contracts.imports import ROOT


def digest(salt, item, out):
    (out / "digest").write_text(hashlib.sha256((salt + item.read_text()).encode()).hexdigest())


def refuse(item, out):
    (out / "half").write_text("a half")
    raise ValueError(f"{item.name} cannot be read")


def die_once(flag, item, out):
    """End this process at the first item, the first time."""
    if item.name == "2" and not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    digest("a", item, out)


def write(folder, count):
    folder.mkdir(exist_ok=True)
    for number in range(count):
        (folder / str(number)).write_text(f"text {number}")
    return [folder / str(number) for number in range(count)]


def found(folders):
    return [(folder.name, (folder / "digest").read_text()) for folder in folders]


def expected(count, salt="a"):
    digests = (hashlib.sha256(f"{salt}text {number}".encode()).hexdigest() for number in range(count))
    return [(f"{number:05d}", each) for number, each in enumerate(digests)]


def test_outputs_are_in_the_items_order_and_done_ones_are_left_alone(tmp_path):
    items = write(tmp_path / "in", 5)
    assert found(map_shards(partial(digest, "a"), items, tmp_path / "out", here, "shards")) == expected(5)
    items[3].write_text("other")
    map_shards(partial(digest, "a"), items, tmp_path / "out", here, "shards")
    assert found(sorted((tmp_path / "out").iterdir())) == expected(5)


def test_of_a_shard_that_fails_nothing_is_left(tmp_path):
    items = write(tmp_path / "in", 2)
    with pytest.raises(ValueError, match="0 cannot be read"):
        map_shards(refuse, items, tmp_path / "out", here, "shards")
    assert not list((tmp_path / "out").iterdir())


def test_no_item_is_no_output(tmp_path):
    assert map_shards(refuse, [], tmp_path / "out", here, "shards") == []


@pytest.mark.slow
def test_several_processes_write_the_same(tmp_path):
    items = write(tmp_path / "in", 6)
    with LocalWorkers(kind="local", processes=2).open() as crew:
        assert found(map_shards(partial(digest, "a"), items, tmp_path / "out", crew, "shards")) == expected(6)
        assert found(map_shards(partial(digest, "b"), items, tmp_path / "b", crew, "shards")) == expected(6, "b")


def test_without_ray_it_is_said_how_to_have_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install '\.\[cluster\]'"):
        RayWorkers(kind="ray").open().__enter__()


ON_RAY = """
import sys
from functools import partial
from pathlib import Path
from components.data.shards import map_shards
from components.data.workers.ray import RayWorkers
from tests.components.test_shards import die_once, refuse
folder = Path(sys.argv[1])
items = sorted((folder / "in").iterdir(), key=lambda path: int(path.name))
with RayWorkers(kind="ray").open() as crew:
    map_shards(partial(die_once, folder / "died"), items, folder / "out", crew, "shards")
    try:
        map_shards(refuse, items[:1], folder / "none", crew, "shards")
    except ValueError as error:
        assert str(error) == "0 cannot be read"
"""


@pytest.mark.slow
def test_ray_writes_the_same_and_gives_the_task_of_a_killed_worker_to_another(tmp_path):
    pytest.importorskip("ray")
    write(tmp_path / "in", 6)
    subprocess.run([sys.executable, "-c", ON_RAY, str(tmp_path)], cwd=ROOT, check=True, timeout=240)
    assert (tmp_path / "died").exists()
    # What the killed one began lies beside.
    assert found(sorted((tmp_path / "out").glob("0*"))) == expected(6)


def sleep_long(flag, item, out):
    (flag.parent / f"pid{item.name}").write_text(str(os.getpid()))
    time.sleep(300)


ORPHANS = """
import sys
from functools import partial
from pathlib import Path
from components.data.shards import map_shards
from components.data.workers.local import LocalWorkers
from tests.components.test_shards import sleep_long
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    with LocalWorkers(kind="local", processes=2).open() as crew:
        items = sorted((folder / "in").iterdir())
        map_shards(partial(sleep_long, folder / "flag"), items, folder / "out", crew, "shards")
"""


@pytest.mark.slow
def test_workers_end_with_the_process_that_is_killed(tmp_path):
    write(tmp_path / "in", 2)
    script = tmp_path / "script.py"
    script.write_text(ORPHANS)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, str(script), str(tmp_path)], cwd=ROOT, env=environment)
    until = time.monotonic() + 60
    while len(list(tmp_path.glob("pid*"))) < 2:
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.05)
    workers = [int(path.read_text()) for path in tmp_path.glob("pid*")]
    assert all(map(psutil.pid_exists, workers))
    process.kill()
    process.wait()
    until = time.monotonic() + 20
    while any(psutil.pid_exists(worker) and psutil.Process(worker).status() != "zombie" for worker in workers):
        assert time.monotonic() < until
        time.sleep(0.05)
