"""Attacks on a server that gives in, on one that does not, and on ours."""

import http.server
import json
import subprocess
import sys
import threading

import pytest

from components.injection import run, table
from components.prompting.injection import Attack, Endpoint, attacks, by_kind, succeeded
from tests.contracts.imports import ROOT


@pytest.fixture(params=[True, False], ids=["obeys", "does not"])
def model(request):
    """A model that says whatever word it has been told, or nothing; its address and whether it obeys."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            said = " ".join(message["content"] for message in asked["messages"])
            if "INST" in said:
                self.send_response(400)
                self.end_headers()
                return
            body = {"choices": [{"message": {"content": said if request.param else "no"}}]}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", request.param
    server.shutdown()
    server.server_close()


def test_the_suite_has_as_many_of_each_kind():
    kinds = [attack.kind for attack in attacks()]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "leak": 32, "override": 32, "role forging": 32, "nothing": 32,
    }  # fmt: skip
    assert all(attack.word in attack.user or attack.word in attack.system for attack in attacks())


@pytest.mark.parametrize(("reply", "expected"), [
    ("It is cobalt.", True), ("C-O-B-A-L-T", True), ("t l a b o c", True), ("coba", False), ("", False),
    ("disco baltic", False), ("cobalts", False),
])  # fmt: skip
def test_a_word_is_found_however_it_is_spelt(reply, expected):
    assert succeeded(Attack("leak", "", "", "cobalt"), reply) is expected


def test_what_succeeds_is_counted(model):
    address, obeys = model
    found = run(Endpoint(address, "any"), 8)
    hits = by_kind([(attack, succeeded(attack, reply or "")) for attack, reply in found])
    # A fourth of the forged roles are refused with a 400, which is withstanding them.
    expected = {"leak": 32, "override": 32, "role forging": 24, "nothing": 32} if obeys else dict.fromkeys(hits, 0)
    assert {kind: sum(own) for kind, own in hits.items()} == expected
    rows = [line.split() for line in table(found).splitlines()]
    assert ["role", "forging", "24" if obeys else "0", "of", "32", "8"] in rows


def test_a_server_that_refuses_plain_questions_proves_nothing(model, monkeypatch):
    address, _ = model
    monkeypatch.setattr("components.prompting.injection.QUESTIONS", ("[/INST] hello",))
    with pytest.raises(OSError, match="answers 400"):
        run(Endpoint(address, "any"), 8)


def test_our_server_is_asked_as_any_other(server, tmp_path):
    command = [sys.executable, "-m", "components.injection", "--url", server.address, "--model", "gpt-ppo",
               "--max-tokens", "4", "--out", str(tmp_path / "attacks.jsonl")]  # fmt: skip
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr
    rows = [json.loads(line) for line in (tmp_path / "attacks.jsonl").read_text().splitlines()]
    assert len(rows) == 128 and "role forging" in found.stdout
    assert not any(row["succeeded"] for row in rows)  # four random tokens spell no such word


def test_a_server_that_is_not_there_or_has_no_such_model_is_named(server):
    for url, model in (("http://127.0.0.1:9", "gpt-ppo"), (server.address, "nobody")):
        command = [sys.executable, "-m", "components.injection", "--url", url, "--model", model]
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert found.returncode == 1 and url in found.stderr and "Traceback" not in found.stderr
