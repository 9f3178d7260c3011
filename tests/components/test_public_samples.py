"""Public data sets, each through ingest by one value of `ingest.source`."""

import json
from pathlib import Path

import pytest

from components.data.records import RecordError
from components.data.sources.folder import FolderSource
from components.stages.ingest import Ingest, build
from tests.contracts.imports import ROOT

SAMPLES = ROOT.parent / "shared/data"
ROWS = {  # as the samples' manifest counts them
    "alpaca": {"demonstrations": 999},
    "gsm8k": {"demonstrations": 7473},
    "hh-rlhf": {"comparisons": 300},
    "preferences": {"comparisons": 300},
    "gpt3-arithmetic": {"demonstrations": 6000},
}
TEXTS = ("tinystories", "tinyshakespeare", "gutenberg", "wikitext-2")


def sample(name):
    folder = SAMPLES / name
    if not folder.exists():
        pytest.skip(f"the public sample {name} is not on this machine")
    return folder


def ingested(folder, tmp_path):
    params = Ingest(source=FolderSource(kind="folder", path=str(folder)), on_bad_row="fail")
    counts = build(params, tmp_path / "data", downloads=tmp_path / "downloads")
    lines = [line for path in sorted((tmp_path / "data").glob("*/*.jsonl")) for line in path.open()]
    assert len(lines) == sum(counts.values())
    return counts, [json.loads(line) for line in lines]


@pytest.mark.parametrize("name", ROWS)
def test_every_row_of_a_public_set_is_read(name, tmp_path):
    assert ingested(sample(name), tmp_path)[0] == ROWS[name]


@pytest.mark.parametrize("name", TEXTS)
def test_a_public_text_is_read_to_its_last_letter(name, tmp_path):
    folder = sample(name)
    counts, records = ingested(folder, tmp_path)
    whole = "".join(path.read_text(encoding="utf-8-sig") for path in sorted(folder.glob("*.txt")))
    assert counts.keys() == {"documents"}
    assert "".join("".join(record["text"] for record in records).split()) == "".join(whole.split())


def best_ways(turn):
    """How many ways lead from a user's turn to a last answer, taking the best one each time."""
    answers = sorted(turn["replies"], key=lambda reply: reply.get("rank", 0))
    if not answers:
        return 0
    return sum(best_ways(further) for further in answers[0]["replies"]) or 1


def test_open_assistants_trees_give_all_they_hold(tmp_path):
    folder = sample("open-assistant")
    roots = [json.loads(line)["prompt"] for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]
    turns = list(roots)
    for turn in turns:  # grows while it is walked
        turns += [further for reply in turn["replies"] for further in reply["replies"]]
    counts, records = ingested(folder, tmp_path)
    assert counts == {
        "comparisons": sum(sum("rank" in reply for reply in turn["replies"]) > 1 for turn in turns),
        "demonstrations": sum(map(best_ways, roots)),
        "prompts": sum(not turn["replies"] for turn in turns),
    }
    assert len({record["group"] for record in records}) == len(roots)
    assert any(len(record["messages"]) > 2 for record in records if "replies" not in record)


@pytest.mark.parametrize(
    ("name", "file", "names", "rows"),
    [("sst2", "dev.tsv", "text\tlabel", 872), ("cola", "in_domain_dev.tsv", "source\tlabel\tmark\ttext", 527)],
)
def test_a_table_without_names_is_refused_in_one_sentence_and_read_with_a_line_of_them(
    name, file, names, rows, tmp_path
):
    content = (sample(name) / file).read_text()
    raw = Path(tmp_path / "raw")
    raw.mkdir()
    (raw / file).write_text(content)
    with pytest.raises(RecordError, match=r"1 file\(s\) that cannot be read.*\n.*Put a line with names before it$"):
        ingested(raw, tmp_path)
    (raw / file).write_text(f"{names}\n{content}")
    assert ingested(raw, tmp_path)[0] == {"documents": rows}
