"""Parts of a file of prompts."""

from dataclasses import replace
from pathlib import Path

import pytest

from components import params as parameters
from components.data.records import Message, Prompt, RecordError, read_records, write_records
from components.pipelines import open_pipeline
from components.stages import portion
from components.work import Work
from tests.contracts.imports import ROOT

PIPELINE = open_pipeline("iterated", ROOT)
TREE = parameters.read_tree(ROOT / PIPELINE.params_file)
PROMPTS = Path("artifacts/prepare/prompts/compare.jsonl")


def part_of(count, name, **changes):
    """The ids that a node takes of so many prompts."""
    write_records(PROMPTS, [Prompt(id=str(n), messages=(Message(role="user", content="hi"),)) for n in range(count)])
    section, shared = parameters.of_node(TREE, PIPELINE, name)
    out = PIPELINE.artifacts / name
    out.mkdir(parents=True, exist_ok=True)
    work = Work(name, PIPELINE, replace(section, **changes), shared, out, Path(), Path(), None)
    portion.run(work)
    assert work.metrics["prompts"] == len(list(read_records(out / "prompts.jsonl", Prompt)))
    return [row.id for row in read_records(out / "prompts.jsonl", Prompt)]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    PROMPTS.parent.mkdir(parents=True)


def test_every_third_prompt_from_ones_own_place_on():
    assert part_of(8, "portion-1") == ["0", "3", "6"]
    assert part_of(8, "portion-2") == ["1", "4", "7"]
    assert part_of(8, "portion-3") == ["2", "5"]


def test_a_part_that_is_not_there_is_refused():
    with pytest.raises(RecordError, match="no part 4 of 3"):
        part_of(8, "portion-1", part=4)
