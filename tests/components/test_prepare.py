"""Prepare as a user meets it: splits by group, prompts for every use, and a sentence where there is too little."""

import json
import random
import shutil

import pytest

from components.data import joining, portions
from components.data.chat import ChatTokenizer
from components.data.digests import file_md5, folder_md5, hash_fraction
from components.data.preparation import prepare
from components.data.records import Comparison, Demonstration, Prompt, RecordError, group_of, read_records
from components.data.sources.folder import FolderSource
from components.stages import ingest
from tests.components.alignment import make_stage
from tests.flows.repository import WORDS

USES = ("compare", "ppo", "validation", "test")


def talk(draw, turns=4):
    said = [" ".join(draw.choices(WORDS, k=draw.randint(3, 7))) + "." for _ in range(turns)]
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(said)]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory; call it with rows by file name to have them ingested and prepared."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw").mkdir()

    def run(files, **changes):
        for name, rows in files.items():
            text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
            (tmp_path / "raw" / name).write_text(text)
        stage = make_stage(tmp_path, "prepare", **changes)
        source = ingest.Ingest(source=FolderSource(kind="folder", path="raw"), on_bad_row="fail")
        stage.out.mkdir(parents=True, exist_ok=True)
        ingest.build(source, tmp_path / "data", downloads=tmp_path / ".lineage/downloads")
        prepare(stage)
        return stage

    return run


def conversations(count=200, turns=4):
    draw = random.Random(0)
    return [{"id": f"topic:{i}", "messages": talk(draw, turns)} for i in range(count)]


def test_prompts_for_every_use_come_from_different_conversations_and_carry_their_group(place):
    rows = [{**row, "group": f"conversation {i}"} for i, row in enumerate(conversations())]
    stage = place({"talk.jsonl": rows})
    groups = {
        use: {prompt.group for prompt in read_records(stage.path(f"prompts/{use}.jsonl"), Prompt)} for use in USES
    }
    for split in ("train", "validation"):
        found = read_records(stage.path(f"demonstrations/{split}.jsonl"), Demonstration)
        groups[split] = {demonstration.group for demonstration in found}
    names = list(groups)
    assert all(groups.values())
    assert not any(groups[a] & groups[b] for i, a in enumerate(names) for b in names[i + 1 :])
    assert set.union(*groups.values()) <= {f"conversation {i}" for i in range(200)}
    for group in groups["test"]:  # by the group, not by the id: TINY's share of the test split is a fifth
        assert hash_fraction(group, "split") < 0.2
    assert not (stage.path("prompts/evaluate.jsonl")).exists()


def test_ids_with_a_colon_are_ids_and_comparisons_fall_into_several_splits(place):
    rows = [{"id": f"oasst:{i}", "prompt": f"question {i}?", "chosen": f"good {i}", "rejected": f"bad {i}"}
            for i in range(300)]  # fmt: skip
    stage = place({"talk.jsonl": conversations(), "p.jsonl": rows})
    found = list(read_records(stage.path("comparisons.jsonl"), Comparison))
    assert len({group_of(row) for row in found}) == 300
    share = sum(hash_fraction(group_of(row), "comparison") < 0.15 for row in found) / 300
    assert 0.05 < share < 0.3


def test_comparisons_that_occur_twice_or_teach_nothing_are_dropped_and_counted(place):
    said = [{"role": "user", "content": "why?"}]
    rows = [
        {"messages": said, "replies": ["so", "no", "who knows"], "ranks": [1, 2, 2]},
        {
            "messages": said,
            "replies": ["no", "who  knows", "so "],
            "ranks": [2, 2, 1],
        },  # the same, but for order, blanks
        {"messages": said, "replies": ["so", "no", "who knows"], "ranks": [2, 1, 2]},  # another opinion
        {"messages": said, "replies": ["so", " so"], "ranks": [1, 2]},
        {"messages": [{"role": "user", "content": " \u0000"}], "replies": ["so", "no"], "ranks": [1, 2]},
    ]
    stage = place({"talk.jsonl": conversations(), "p.jsonl": rows})
    found = list(read_records(stage.path("comparisons.jsonl"), Comparison))
    assert [row.ranks for row in found] == [(1, 2, 2), (2, 1, 2)]
    dropped = stage.metrics["dropped"]
    assert dropped["duplicate_comparisons"] == dropped["comparisons_of_identical_replies"] == 1
    assert dropped["empty_comparisons"] == 1


def test_comparisons_of_one_prompt_are_one_group_and_so_are_groups_that_share_one(place):
    def row(prompt, number, **own):
        return {"prompt": prompt, "chosen": f"good {number}", "rejected": f"bad {number}", **own}

    rows = [row("the same?", 0), row("another?", 1), row(" the  same?", 2)]
    rows += [row("a?", 3, group="g"), row("b?", 4, group="g"), row("b?", 5, group="h"), row("c?", 6, group="h")]
    stage = place({"talk.jsonl": conversations(), "p.jsonl": rows})
    found = [group_of(row) for row in read_records(stage.path("comparisons.jsonl"), Comparison)]
    assert found == ["p.jsonl:1", "p.jsonl:2", "p.jsonl:1", "g", "g", "g", "g"]


def test_brought_prompts_are_cleaned_split_by_group_and_those_that_occur_twice_counted(place):
    rows = [{"messages": [{"role": "user", "content": f"brought  question {i % 200}?"}]} for i in range(201)]
    stage = place({"talk.jsonl": conversations(), "p.jsonl": rows})
    brought = {
        use: [p.id for p in read_records(stage.path(f"prompts/{use}.jsonl"), Prompt) if "brought question" in
              p.messages[0].content] for use in USES
    }  # fmt: skip
    assert all(brought.values()) and sum(map(len, brought.values())) == 200
    dropped = stage.metrics["dropped"]
    repeated = [value for name, value in dropped.items() if name.endswith(("twice", "elsewhere"))]
    assert sum(repeated) >= 1


def test_small_data_stop_at_prepare_with_what_is_missing_and_how_much_is_needed(place):
    texts = {f"{i}.txt": f"one short sentence with the number {i}." for i in range(60)}
    with pytest.raises(RecordError) as caught:
        place(texts, prepare__validation_fraction=0.04, limits__context_length=128)
    message = str(caught.value)
    assert "validation split has" in message and "needs 129" in message
    assert "about 3225 tokens" in message  # 129 / 0.04


def test_one_long_text_reaches_all_three_splits(place):
    draw = random.Random(0)
    lines = [" ".join(draw.choices(WORDS, k=9)) for _ in range(4000)]
    stage = place({"input.txt": "\n".join(line + "\n" * (i % 9 == 0) for i, line in enumerate(lines))})
    assert all(stage.metrics[split]["tokens"] > 40 for split in ("train", "validation", "test"))
    kept = sum(stage.metrics["records"][split] for split in ("train", "validation", "test"))
    assert kept == stage.metrics["records"]["read"] > 40


def test_turns_too_long_for_any_answer_are_counted_and_stop_at_prepare(place):
    rows = conversations(turns=2)
    for number, row in enumerate(rows):
        row["messages"][0]["content"] = f"number {number} " + "stone lamp " * 60
    with pytest.raises(
        RecordError, match=r"train split has an answer that begins within limits.max_demonstration_tokens, 40"
    ):
        place({"talk.jsonl": rows})


def test_a_long_system_message_leaves_the_users_words_in_every_prompt(place):
    rows = conversations()
    for row in rows:
        row["messages"].insert(0, {"role": "system", "content": "river stone lamp " * 60})
    pairs = [{"prompt": text, "chosen": "x", "rejected": "y"} for text in ("short", "stone lamp " * 60)]
    stage = place({"talk.jsonl": rows, "pairs.jsonl": pairs})
    chat = ChatTokenizer.load(stage.path("tokenizer.json"))
    longest = stage.limits.max_prompt_tokens
    for use in USES:
        prompts = list(read_records(stage.path(f"prompts/{use}.jsonl"), Prompt))
        assert prompts and stage.metrics["cut"][f"{use}_prompts"] == len(prompts)
        for prompt in prompts:
            plain = [{"role": message.role, "content": message.content} for message in prompt.messages]
            ids = chat.encode_prompt(plain, max_tokens=longest)
            assert len(ids) <= longest
            assert ids[-2] == chat.encode_text(plain[-1]["content"])[-1]
    assert stage.metrics["cut"]["user_comparisons"] == 1
    assert stage.metrics["dropped"]["answers_of_demonstrations_after_too_long_a_turn"] > 0


def test_portions_by_several_workers_give_the_bytes_of_one_portion_by_none(place, tmp_path, monkeypatch):
    rows = conversations()
    texts = [{"id": f"d{i}", "text": f"river stone {i % 70} lamp"} for i in range(90)]
    names = ("tokens", "tokenizer.json", "demonstrations", "prompts", "report.md")

    def made(stage):
        return {name: (folder_md5 if stage.path(name).is_dir() else file_md5)(stage.path(name)) for name in names}

    alone = place({"talk.jsonl": rows, "texts.jsonl": texts})
    whole, dropped = made(alone), alone.metrics["dropped"]
    shutil.rmtree(alone.state)
    shutil.rmtree(alone.out)
    monkeypatch.setattr(portions, "PORTION_BYTES", 2000)
    monkeypatch.setattr(joining, "SHARDS_A_PARTITION", 4)
    several = place({}, prepare__workers={"kind": "local", "processes": 2})
    assert made(several) == whole
    assert several.metrics["dropped"] == dropped and dropped["duplicate"] == 20
    assert len(list((several.state / "shards/unique").iterdir())) > 8

    # What was made of shards is not made again; what is missing is.
    shutil.rmtree(several.out)
    (encoded,) = (several.state / "shards").glob("encoded-*")
    shutil.rmtree(encoded / "00001")
    kept = several.state / "shards/cleaned/00000/rows.parquet"
    before = kept.stat().st_mtime_ns
    assert made(place({})) == whole and kept.stat().st_mtime_ns == before
