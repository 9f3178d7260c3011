"""Sampling the replies that are compared: K a prompt, some prompts at a time, and not twice after a kill."""

import json
import shutil
from pathlib import Path

import pytest

from components.stages import compare
from components.stages.compare import _sample
from tests.components.alignment import make_files, make_stage

CHANGES = {"compare__num_prompts": 20, "compare__replies_per_prompt": 3, "compare__batch_size": 7}


@pytest.fixture
def stage(tmp_path, monkeypatch):
    make_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compare, "PROMPTS_AT_ONCE", 8)
    shutil.copy("artifacts/prepare/prompts/ppo.jsonl", "artifacts/prepare/prompts/compare.jsonl")
    return make_stage(tmp_path, **CHANGES)


def parts(stage):
    return sorted(path.name for path in stage.state.glob("replies-*.json"))


def test_every_prompt_gets_k_replies_of_its_own(stage):
    prompts, replies = _sample(stage)
    assert len(prompts) == len(replies) == 20
    assert all(len(own) == 3 for own in replies)
    assert len({reply for own in replies for reply in own}) > 40  # drawn one by one, not copied
    assert parts(stage) == ["replies-000000.json", "replies-000008.json", "replies-000016.json"]


def test_a_killed_run_goes_on_where_it_was(stage):
    _, whole = _sample(stage)
    first = stage.state / "replies-000000.json"
    marked = json.loads(first.read_text())
    marked[0] = "what was there already"
    first.write_text(json.dumps(marked))
    (stage.state / "replies-000008.json").unlink()
    Path(stage.state / "replies-000016.partial").write_text("[")
    (stage.state / "replies-000016.json").unlink()
    _, resumed = _sample(stage)
    assert resumed[0][0] == "what was there already"
    assert resumed[0][1:] == whole[0][1:] and resumed[1:] == whole[1:]
