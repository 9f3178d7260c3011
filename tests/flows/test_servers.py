"""Servers: whose they are, what is said when they cannot be had, and that none outlives the flow it was started for."""

import contextlib
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from components.loopback import spare_loopback
from flows.server import free_port, serves
from tests.flows.repository import make_repository
from tests.flows.watching import wait_for

DEAD = "http://127.0.0.1:9"  # nobody listens there


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return make_repository(tmp_path_factory.mktemp("servers"))


@contextlib.contextmanager
def answering(home):
    """What looks like a Prefect server that keeps its runs in a home."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps({"home": str(home)} if self.path == "/api/admin/settings" else True).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def servers(root):
    """Processes that serve Prefect for flows of a repository."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        with contextlib.suppress(psutil.Error):
            named = (process.info["cmdline"] or [])[1:3] == ["-m", "flows.server"]
            if named and process.info["status"] != psutil.STATUS_ZOMBIE and process.cwd() == str(root):
                found.append(process)
    return found


def test_the_server_of_another_clone_is_not_ours(tmp_path):
    ours, theirs = tmp_path / "ours/.prefect", tmp_path / "theirs/.prefect"
    with answering(theirs) as address:
        assert serves(address, theirs) and not serves(address, ours)
    assert not serves(address, theirs)


def test_this_machine_is_never_asked_through_a_proxy(tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", DEAD)
    monkeypatch.setenv("no_proxy", "example.org")
    monkeypatch.setenv("NO_PROXY", "example.net")
    environment = dict(os.environ)
    spare_loopback(environment)
    assert environment["no_proxy"] == environment["NO_PROXY"] == "example.org,example.net,127.0.0.1,localhost"
    monkeypatch.setattr(urllib.request, "_opener", None)  # made once a process, with the proxies of then
    with answering(tmp_path) as address:
        with pytest.raises(OSError):
            urllib.request.urlopen(address, timeout=5)
        monkeypatch.setenv("no_proxy", environment["no_proxy"])
        assert serves(address, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--preset", "huge"), "no preset 'huge'"),
        (("--set", "ppo.nope=1"), "no such parameter: ppo.nope"),
        (("--force", "nowhere"), "--force: no stage 'nowhere'; the stages are ingest, prepare,"),
        (("--force", "ppo"), "--force ppo: this flow ends at sft"),
        (("--until", "rewrad"), "--until: no stage 'rewrad'; the stages are ingest, prepare,"),
    ],
)
def test_a_typo_is_a_sentence_before_anything_starts(repository, arguments, words):
    output = repository.flow(*arguments, until="sft", check=False)
    assert words in output and "Traceback" not in output
    assert not (repository.root / ".prefect/prefect.db").exists()
    assert not (repository.root / "mlruns/mlflow.db").exists() and not (repository.root / ".lineage").exists()


def test_a_dead_prefect_api_url_is_one_sentence(repository):
    repository.environment["PREFECT_API_URL"] = f"{DEAD}/api"
    try:
        output = repository.flow(until="ingest", check=False)
    finally:
        del repository.environment["PREFECT_API_URL"]
    said = [line for line in output.splitlines() if line.strip() and "mlflow" not in line]
    assert len(said) == 1 and f"no server answers at PREFECT_API_URL={DEAD}/api" in said[0]


def test_make_ui_names_a_taken_port_and_starts_nothing(repository):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = holder.getsockname()[1]
        arguments = ("--prefect-port", str(free_port()), "--mlflow-port", str(taken), "--chat-port", str(free_port()))
        process = repository.start("python", "-m", "flows.ui", *arguments)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert output.startswith(f"port {taken} is taken") and "http://" not in output
    assert not (repository.root / ".lineage/logs").exists()


def stage_of(root):
    for process in psutil.process_iter(["cmdline"]):
        with contextlib.suppress(psutil.Error):
            named = (process.info["cmdline"] or [])[1:4] == ["-m", "components.stages", "pretrain"]
            if named and str(root) in process.cwd():
                return process
    return None


@pytest.mark.slow
def test_a_flow_runs_on_the_server_of_make_ui_and_says_where_that_is(repository):
    ports = [free_port(), free_port(), free_port()]
    arguments = ("--prefect-port", str(ports[0]), "--mlflow-port", str(ports[1]), "--chat-port", str(ports[2]))
    pages = repository.start("python", "-m", "flows.ui", *arguments)
    try:
        printed = ""
        while (line := pages.stdout.readline()) and "Ctrl-C" not in line:
            printed += line
        # MLflow would open on traces, and a list of runs without figures.
        page = rf"http://127.0.0.1:{ports[1]}/#/experiments/\d+/runs\?(\S+)"
        assert {"viewStateShareKey=headlines", "workflowType=machine_learning"} == set(
            re.search(page, printed)[1].split("&")
        )
        assert f"View at http://127.0.0.1:{ports[0]}/runs/" in repository.flow(until="ingest")
    finally:
        os.killpg(pages.pid, signal.SIGINT)
        pages.communicate(timeout=60)
    assert not (repository.root / ".prefect/ui.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_a_flow_ends_its_own_server_within_seconds(repository, number):
    """Ctrl-C reaches the whole process group, the others the flow alone."""
    flow = repository.start(
        "python", "-m", "flows.lineage", "--until", "pretrain", "--set", f"pretrain.max_steps={10**6 + number}"
    )
    wait_for(lambda: stage_of(repository.root))
    assert len(servers(repository.root)) == 1
    time.sleep(1)
    begun = time.monotonic()
    (os.killpg if number == signal.SIGINT else os.kill)(flow.pid, number)
    output, _ = flow.communicate(timeout=60)
    assert time.monotonic() - begun < 30
    wait_for(lambda: not servers(repository.root), seconds=10)
    assert "Traceback" not in output.split("Finished in state")[-1]
    if number != signal.SIGKILL:
        assert "stopped; the same command" in output


@pytest.mark.slow
def test_a_flow_as_process_1_of_a_container_keeps_its_server(repository):
    space = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    if not shutil.which("unshare") or subprocess.run([*space, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine does not allow to make a process space")
    output = repository.run(*space, "python", "-m", "flows.lineage", "--until", "ingest")
    assert "ingest" in output and "Traceback" not in output
    assert Path(repository.root / "data").exists()
