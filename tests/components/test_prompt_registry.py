"""Prompts in a real registry on SQLite, and what the stage makes of a small model."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from components import mlflow_store
from components.prompting import matrix
from components.prompting.asker import Asker
from components.prompting.matrix import Cell, fill
from components.prompting.registry import look_up, names, point, publish, versions
from components.prompting.template import Template
from components.rates import Rates
from components.sections.values import typed
from components.stages.prompting import Prompting
from tests.components.stores import tracker
from tests.components.test_item_tasks import folder, scorer
from tests.contracts.imports import ROOT


def test_a_new_text_is_a_new_version_and_an_old_one_is_not(tmp_path, work):
    work(tmp_path)
    first = publish(Template("ask", "one {{ question }}"))
    second = publish(Template("ask", "two {{ question }}"), note="shorter")
    assert publish(Template("ask", "one {{ question }}")).address == first.address == "prompts:/ask/1"
    assert [each.version for each in versions("ask")] == [1, 2] and second.version == 2
    point("ask", "production", 1)
    assert look_up("ask@production").template.text == "one {{ question }}"
    assert look_up("ask").version == look_up("ask/2").version == 2
    assert names() == ["ask"]
    with pytest.raises(LookupError, match="no prompt at ask/3: there is 1, 2"):
        look_up("ask/3")
    with pytest.raises(LookupError, match=r"no prompt 'other'; prompts are \['ask'\]"):
        look_up("other")
    assert mlflow_store.registered() == []  # prompts are no models
    client, _ = mlflow_store.connect()
    client.register_prompt("json", '{"a": {"b": 1}}')
    client.register_prompt("chat", [{"role": "user", "content": "hello"}])
    assert versions("json") == versions("chat") == [] and len(versions("ask")) == 2


def test_the_command_line(tmp_path, work):
    work(tmp_path)
    file = tmp_path / "ask.txt"

    def run(*arguments, code=0):
        command = [sys.executable, "-m", "components.prompts", *arguments]
        path = {"PYTHONPATH": str(ROOT)}
        found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, **path})
        assert found.returncode == code, found.stderr
        return found.stdout + found.stderr

    assert "no prompts yet" in run("list")
    for text in ("Say {{ word }}\n", "Whisper {{ word }}\n"):
        file.write_text(text)
        run("publish", str(file), "--note", "louder")
    assert "ask@best is prompts:/ask/1" in run("alias", "ask/1", "best")
    assert run("show", "ask@best").strip() == "Say {{ word }}"
    assert "-Say {{ word }}\n+Whisper {{ word }}" in run("diff", "ask/1", "ask/2")
    assert "prompts:/ask/1" in run("list") and "@best" in run("list")
    assert "no prompt at ask/7" in run("show", "ask/7", code=1)
    file.write_text("{{ a b }}")
    assert "line 1" in run("publish", str(file), code=1)


QUESTIONS = [{"query": f"one two {n}?", "answer": str(n)} for n in range(1, 7)]


def prompting(root, **more):
    shown = [{"query": f"three {n}?", "answer": str(n)} for n in range(1, 7)]
    for name, rows in (("test", QUESTIONS), ("examples", shown)):
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "ask.txt").write_text("{{ question }} say")
    (root / "shots.txt").write_text("{{ examples }}\n\n{{ question }}")
    (root / "example.txt").write_text("{{ question }} {{ answer }}")
    data = {"name": "numbers", "file": "test.jsonl", "examples": "examples.jsonl", "pattern": r"\d", "limit": 4,
            "answer_tokens": 6, "reasoning_tokens": 8}  # fmt: skip
    shots = {"prompt": "shots.txt", "example": "example.txt", "shots": 2}
    techniques = [{"kind": "zero_shot", "name": "plain", "prompt": "ask.txt"},
                  {"kind": "few_shot", "name": "shown", **shots}]  # fmt: skip
    problems = []
    tree = {"chat": False, "repeats": 2, "data": [data], "techniques": techniques} | more
    made = typed(Prompting, "prompting", tree, problems)
    assert not problems
    return made


class Kept:
    """A tracker that keeps what it is told."""

    def __init__(self):
        self.prompts, self.tables = {}, {}

    def register_prompt(self, name, text):
        self.prompts[name] = text

    def log_table(self, name, rows, step):
        self.tables[name] = rows

    def log_file(self, *_):
        pass

    def note(self, *_):
        pass


def a_work(root, section, model):
    out, state = root / "out", root / "state"
    out.mkdir(exist_ok=True)
    state.mkdir(exist_ok=True)
    compute = SimpleNamespace(accelerator="cpu", precision="32-true", devices=1)
    return SimpleNamespace(
        section=section, read_all=lambda name: {"adopt": model}, out=out, state=state, path=lambda name: out / name,
        metrics={}, seed=3, name="prompting", rates=Rates(), tracker=Kept(), pipeline=SimpleNamespace(name="prompts"),
        limits=SimpleNamespace(context_length=18), compute=compute,
    )  # fmt: skip


@pytest.fixture
def done(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = folder(tmp_path)
    work = a_work(tmp_path, prompting(tmp_path), model)
    fill(work)
    return work, model


def test_the_stage_counts_what_is_right_and_what_it_cost(done):
    work, _ = done
    rows = [json.loads(line) for line in (work.out / "answers.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * 2 * 4
    for name in ("plain", "shown"):
        own = [row for row in rows if row["technique"] == name]
        figures = work.metrics["adopt"]["numbers"][name]
        assert figures["accuracy"] == pytest.approx(sum(row["right"] for row in own) / 8)
        assert all(row["right"] == (row["found"] == row["expected"]) for row in own)
        assert figures["unanswered"] == pytest.approx(sum(row["found"] is None for row in own) / 8)
        assert figures["calls"] == 1 and 0 < figures["reply_tokens"] <= 8
    assert "accuracy_difference_p" in work.metrics["adopt"]["numbers"]["shown"]
    # "one two 1? say" and the examples' two lines; what is longer than 18 - 6 tokens is cut, and said to be.
    assert work.metrics["adopt"]["numbers"]["plain"]["cut"] == 0 < work.metrics["adopt"]["numbers"]["shown"]["cut"] <= 1
    assert "numbers: 4 questions" in (work.out / "report.md").read_text()
    assert (work.out / "plots/matrix.png").stat().st_size > 1000
    assert work.tracker.prompts["prompts-ask"] == "{{ question }} say" and len(work.tracker.prompts) == 3
    assert [row["technique"] for row in work.tracker.tables["matrix"]] == ["plain", "shown"]


def test_a_stage_that_was_stopped_asks_only_what_is_left(done, monkeypatch):
    work, model = done
    before = {path.name: path.read_bytes() for path in work.out.glob("*.jsonl")}
    cell = sorted(work.state.glob("cells/**/*.json"))[0]
    kept = Cell.load(cell)
    cell.unlink()
    asked = []
    answer = type(work.section.techniques[0]).answer
    monkeypatch.setattr(type(work.section.techniques[0]), "answer",
                        lambda self, *rest: asked.append(self.name) or answer(self, *rest))  # fmt: skip
    again = a_work(work.out.parent, work.section, model)
    fill(again)
    assert asked == ["plain"] and Cell.load(cell) == kept
    assert {path.name: path.read_bytes() for path in work.out.glob("*.jsonl")} == before
    assert again.metrics == work.metrics
    monkeypatch.setattr(matrix, "load_gpt", None)  # with nothing to ask no model is opened
    fill(a_work(work.out.parent, work.section, model))


def test_blank_lines_before_a_reply_do_not_end_it(tmp_path, monkeypatch):
    subject = scorer(folder(tmp_path))
    monkeypatch.setattr(type(subject.tokenizer), "decode", lambda self, ids: "\n\n 42 \n\nQuestion: 7")
    assert Asker(subject, chat=False, context_length=40).ask(["one"], tokens=4, stops=("\n\n",)) == ["42"]


def test_every_template_that_does_not_fit_is_named_before_anything_is_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    section = prompting(tmp_path)
    (tmp_path / "ask.txt").write_text("{{ query }}")
    (tmp_path / "example.txt").write_text("{{ answer")
    with pytest.raises(ValueError, match=r"plain: ask: no value for query(.|\n)*shown: example, line 1"):
        fill(a_work(tmp_path, section, tmp_path))


def test_a_question_that_may_be_shown_with_its_answer_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    section = prompting(tmp_path)
    (tmp_path / "examples.jsonl").write_text(json.dumps(QUESTIONS[0]) + "\n")
    with pytest.raises(ValueError, match="would tell its answer"):
        fill(a_work(tmp_path, section, tmp_path))


def test_a_stage_registers_its_prompts_and_its_run_is_linked_to_them(tmp_path, work):
    work(tmp_path)
    with tracker(tmp_path) as own:
        own.register_prompt("prompts-ask", "one {{ question }}")
        own.register_prompt("prompts-ask", "one {{ question }}")
    assert own.trouble is None
    client, _ = mlflow_store.connect()
    linked = json.loads(client.get_run(own.run_id).data.tags["mlflow.linkedPrompts"])
    assert linked == [{"name": "prompts-ask", "version": "1"}]
    experiment = client.get_experiment_by_name("gptlineage").experiment_id
    assert experiment in client.get_prompt("prompts-ask").tags["_mlflow_experiment_ids"].split(",")
