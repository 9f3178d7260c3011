"""Asking people: fresh prompts, replies that differ, and with each task what makes it up."""

import hashlib
import sys
from pathlib import Path

import pytest
import yaml

from components.checkpoints import load_tokenizer
from components.data.records import Prompt, read_records, write_records
from components.labeling import ask as asking
from components.labeling.ask import AskError, found, fresh
from components.labeling.journal import Journal
from tests.components.alignment import QUICK, TINY, make_files
from tests.components.labels import make_task, said
from tests.contracts.imports import ROOT
from tests.flows.repository import edited

PROMPTS = Path("artifacts/prepare/prompts/ppo.jsonl")
COMMAND = ("--round", "1", "--prompts", str(PROMPTS), "--params", "params.yaml")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_files(tmp_path)
    Path("params.yaml").write_text(edited((ROOT / "params.yaml").read_text(), {**TINY, **QUICK}))


def run(monkeypatch, *words):
    """The command in this process: its journal's tasks."""
    monkeypatch.setattr(sys, "argv", ["ask", *COMMAND, *words])
    asking.main()
    journal = Journal()
    tasks = journal.tasks()
    journal.close()
    return tasks


@pytest.fixture
def tasks(place, monkeypatch):
    return run(monkeypatch, "--model", "artifacts/sft/model", "--tasks", "12", "--replies", "3", "--seed", "5",
               "--overlap", "0.5", "--demonstrations", "2")  # fmt: skip


def test_a_task_has_the_prompt_its_group_and_replies_that_the_model_sampled(tasks):
    prompts = {prompt.id: prompt for prompt in read_records(PROMPTS, Prompt)}
    tokenizer = load_tokenizer(Path("artifacts/sft/model"))
    rankings = [task for task in tasks if task.kind == "ranking"]
    assert 10 <= len(rankings) <= 12 and len({task.prompt_id for task in tasks}) == len(tasks)
    for task in rankings:
        prompt = prompts[task.prompt_id]
        assert (task.messages, task.group) == (prompt.messages, prompt.group or prompt.id)
        assert [tokenizer.decode(list(ids)).strip() for ids in task.sampled] == list(task.replies)
        assert [ids[-1] == tokenizer.end for ids in task.sampled] == list(task.ended)
        assert 2 <= len(task.replies) <= 3


def test_a_task_says_which_weights_wrote_its_replies_and_how(tasks):
    weights = Path("artifacts/sft/model/model.safetensors").read_bytes()
    generation = yaml.safe_load(Path("params.yaml").read_text())["generation"]
    sources = {source for task in tasks for source in task.sources}
    (source,) = sources
    assert source.weights_sha256 == hashlib.sha256(weights).hexdigest() and source.model == "artifacts/sft/model"
    assert source.tokenizer_md5 == hashlib.md5(Path("artifacts/sft/model/tokenizer.json").read_bytes()).hexdigest()
    assert (source.seed, source.temperature, source.top_k) == (5, generation["temperature"], generation["top_k"])
    assert all("--model artifacts/sft/model" in task.asked_by for task in tasks)
    assert {task.workers for task in tasks if task.kind == "ranking"} == {1, 2}
    assert [task.replies for task in tasks if task.kind == "demonstration"] == [(), ()]


def test_the_same_command_asks_about_other_prompts_and_the_same_seed_says_the_same(tasks, monkeypatch, tmp_path):
    more = run(monkeypatch, "--model", "artifacts/sft/model", "--tasks", "5", "--round", "2")
    assert len({task.prompt_id for task in more}) == len(more) > len(tasks)
    again = run(monkeypatch, "--model", "artifacts/sft/model", "--tasks", "12", "--replies", "3", "--seed", "5",
                "--journal", "other.sqlite")  # fmt: skip
    assert again == more  # `run` reads the first journal: nothing came to it
    other = Journal(Path("other.sqlite"))
    assert [task.replies for task in other.tasks()] == [task.replies for task in tasks if task.kind == "ranking"]


def test_replies_that_are_all_alike_are_not_asked_about(place, monkeypatch):
    monkeypatch.setattr(asking.Reply, "text", lambda self, tokenizer: "the same")
    assert run(monkeypatch, "--model", "artifacts/sft/model", "--tasks", "3") == []


def test_a_prompt_is_fresh_where_no_task_has_it(tmp_path):
    write_records(tmp_path / "p.jsonl", [Prompt(id=f"prompt-{name}", messages=said("hi")) for name in "abc"])
    assert [row.id for row in fresh(tmp_path / "p.jsonl", [make_task("b")], 2)] == ["prompt-a", "prompt-c"]
    with pytest.raises(AskError, match="has 2 prompts that were not asked before, not 3"):
        fresh(tmp_path / "p.jsonl", [make_task("b")], 3)


def test_a_version_that_is_not_there_is_a_sentence(monkeypatch):
    monkeypatch.setattr(asking.mlflow_store, "version_facts", lambda address: None)
    monkeypatch.setattr(asking.mlflow_store, "download_model", lambda address: None)
    with pytest.raises(AskError, match="the registry has no models:/gpt-none/1"):
        found("models:/gpt-none/1")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--round", "1"), "--model whose replies are ranked, --demonstrations, or both"),
        (("--round", "0", "--demonstrations", "1"), "'0' is no number from 1 to 99"),
        (("--round", "1", "--demonstrations", "1", "--overlap", "2"), "'2' is no share from 0 to 1"),
        (("--round", "1", "--demonstrations", "1", "--prompts", "nothing.jsonl"), "ask: nothing.jsonl is not there"),
    ],
)
def test_what_is_wrong_with_the_command_is_said(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ask", *words])
    with pytest.raises(SystemExit) as end:
        asking.main()
    assert said in f"{end.value.code} {capsys.readouterr().err}"
