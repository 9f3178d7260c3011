"""Sampling the replies that are compared: K a prompt, some prompts at a time, and not twice after a kill."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from components.checkpoints import load_tokenizer
from components.data.records import Comparison, Message, RecordError, group_of, read_records, write_records
from components.labeling import collecting
from components.labeling.collecting import _sample, collect, split_of
from components.models.replies import Reply
from components.stages.compare import FileLabeler
from tests.components.alignment import make_files, make_stage

CHANGES = {"compare__num_prompts": 20, "compare__replies_per_prompt": 3}


@pytest.fixture
def stage(tmp_path, monkeypatch):
    make_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(collecting, "PROMPTS_AT_ONCE", 8)
    shutil.copy("artifacts/prepare/prompts/ppo.jsonl", "artifacts/prepare/prompts/compare.jsonl")
    return make_stage(tmp_path, "compare", **CHANGES)


def brought(stage, rows):
    """A stage whose labeler is a file, with these comparisons."""
    write_records(Path("artifacts/prepare/comparisons.jsonl"), rows)
    stage.out.mkdir(parents=True, exist_ok=True)
    return replace(stage, section=replace(stage.section, labeler=FileLabeler(kind="file")))


def comparison(number, *, ranks=(1, 2), group=""):
    said = (Message(role="user", content=f"question {number}"),)
    return Comparison(id=f"oasst:{number}", messages=said, replies=("yes", "no"), ranks=ranks, group=group)


def parts(stage):
    return sorted(path.name for path in stage.state.glob("replies-*.json"))


def test_every_prompt_gets_k_replies_of_its_own(stage):
    prompts, sampled, replies = _sample(stage)
    assert len(prompts) == len(sampled) == len(replies) == 20
    assert all(len(own) == 3 for own in replies)
    assert len({reply for own in replies for reply in own}) > 40  # drawn one by one, not copied
    assert parts(stage) == ["replies-000000.json", "replies-000008.json", "replies-000016.json"]


def test_a_killed_run_goes_on_where_it_was(stage):
    *_, whole = _sample(stage)
    first = stage.state / "replies-000000.json"
    marked = json.loads(first.read_text())
    marked[0] = {"ids": [300], "ended": False}
    first.write_text(json.dumps(marked))
    (stage.state / "replies-000008.json").unlink()
    Path(stage.state / "replies-000016.partial").write_text("[")
    (stage.state / "replies-000016.json").unlink()
    _, sampled, resumed = _sample(stage)
    assert sampled[0][0] == Reply([300], ended=False)
    assert resumed[0][1:] == whole[0][1:] and resumed[1:] == whole[1:]


def test_a_reply_that_was_cut_keeps_its_last_token_and_is_known_as_cut(stage):
    """With room for 8 tokens most replies of a random model are cut: the end marker must not overwrite their last."""
    _, sampled, _ = _sample(stage)
    end = load_tokenizer(stage.read("policy")).end
    flat = [reply for own in sampled for reply in own]
    assert any(reply.ended for reply in flat) and not all(reply.ended for reply in flat)
    assert all((reply.ids[-1] == end) == reply.ended for reply in flat)
    assert all(len(reply.ids) == 8 for reply in flat if not reply.ended)


def test_what_is_compared_is_what_was_sampled(stage):
    stage.out.mkdir(parents=True, exist_ok=True)
    write_records(stage.read("demonstrations"), [])
    collect(stage)
    tokenizer = load_tokenizer(stage.read("policy"))
    rows = [row for name in collecting.SPLITS for row in read_records(stage.path(f"{name}.jsonl"), Comparison)]
    assert len(rows) == 20
    for row in rows:
        assert [tokenizer.decode(ids).strip() for ids in row.sampled] == list(row.replies)
        assert [ids[-1] == tokenizer.end for ids in row.sampled] == list(row.ended)


def test_ids_with_colons_are_ids(stage):
    """300 comparisons `oasst:<n>`: what stands before the colon is no conversation."""
    splits = {split_of(group_of(comparison(number)), stage.section) for number in range(300)}
    assert splits == {"train", "validation", "test"}


def test_comparisons_of_one_group_stay_together(stage):
    rows = [comparison(number, group="one conversation") for number in range(300)]
    assert len({split_of(group_of(row), stage.section) for row in rows}) == 1
    with pytest.raises(RecordError, match="300 comparisons in 1 group"):
        collect(brought(stage, rows))


def test_half_of_a_users_comparisons_judge_and_do_not_train(stage):
    stage = brought(stage, [comparison(number) for number in range(400)])
    collect(stage)
    found = {
        name: {row.id for row in read_records(stage.path(f"{name}.jsonl"), Comparison)} for name in collecting.SPLITS
    }
    assert sum(map(len, found.values())) == 400 == len(set().union(*found.values()))
    assert 0.4 < len(found["judge"]) / (len(found["judge"]) + len(found["train"])) < 0.6


def test_comparisons_that_all_tie_stop_before_anything_is_trained(stage):
    with pytest.raises(RecordError, match="all replies of all 30 comparisons tie"):
        collect(brought(stage, [comparison(number, ranks=(1, 1)) for number in range(30)]))
