"""A corpus of which is known what should be taken from it, and how the taking is judged."""

import json
import random
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from components import params as parameters
from components.data.records import RecordError
from components.data.treating.judging import judge, judged
from components.data.treatments.contamination import Against, Contamination
from components.data.workers.local import here
from components.pipelines import open_pipeline
from components.stages import audit, planted, treat
from components.work import Work
from tests.components.treated import files_of
from tests.contracts.imports import ROOT

PIPELINE = open_pipeline("gpt3-data", ROOT)
WORDS = (
    "the a sea ship was calm went home slowly and then men came with bread to eat by night or day in old towns".split()
)


class Silent:
    def log_file(self, path):
        assert path.exists()


class Fed(Work):
    """A stage's work whose inputs lie where the test says."""

    fed: dict[str, Path]

    def read(self, name):
        return self.fed[name]


def work(node, out, fed, **changes):
    tree = parameters.read_tree(PIPELINE.params_file)
    section, shared = parameters.of_node(tree, PIPELINE, node)
    made = Fed(node, PIPELINE, replace(section, **changes), shared, out, out / "state", out, Silent())
    made.fed = fed
    out.mkdir(parents=True, exist_ok=True)
    return made


def prose(draw, count):
    """Words of which no 13 in a row stand twice, but for what is planted."""
    return " ".join(
        f"{draw.choice(WORDS)}" if draw.random() < 0.5 else f"name{draw.randrange(10**6)}" for _ in range(count)
    )


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Planted, treated, audited."""
    folder, draw = tmp_path_factory.mktemp("planted"), random.Random(0)
    files_of(folder / "data", [(f"t{n}", prose(draw, 250)) for n in range(500)])
    first = work("planted", folder / "planted", {"data": folder / "data"}, items=40)
    planted.run(first)
    steps = (
        first.pipeline and parameters.of_node(parameters.read_tree(PIPELINE.params_file), PIPELINE, "treat")[0].steps
    )
    against = replace(steps[-2].against[0], file=str(folder / "planted/items/passages.jsonl"))
    *between, contamination, quality = steps
    steps = (*between, replace(contamination, against=(against,)), replace(quality, alpha=1.0))
    second = work("treat", folder / "treat", {"data": folder / "planted/records"}, steps=steps)
    treat.run(second)
    (folder / "treat/metrics.json").write_text(json.dumps(second.metrics))
    fed = {
        "truth": folder / "planted/truth.jsonl",
        "taken": folder / "treat/taken",
        "figures": folder / "treat/metrics.json",
    }
    third = work("audit", folder / "audit", fed)
    audit.run(third)
    return folder, first, second, third


def test_what_was_planted_is_counted_and_stands_in_the_records(run):
    folder, first, _, _ = run
    truth = rows_of(folder / "planted/truth.jsonl")
    documents = {
        row["id"]: row for part in sorted((folder / "planted/records/documents").iterdir()) for row in rows_of(part)
    }
    assert documents.keys() == {row["id"] for row in truth} and len(documents) == len(truth)
    assert first.metrics["reference"] == 138 and first.metrics["items"] == 40  # 0.3 of the 460 that are no items
    crawl = first.metrics["crawl"]
    assert crawl["quoting"] == 16 and crawl["junk"] == 644 and crawl["good"] == 306
    passages = [row["text"] for row in rows_of(folder / "planted/items/passages.jsonl")]
    for row in truth:
        text, others = documents[row["id"]]["text"], documents.get(row["of"], {"text": ""})["text"]
        assert any(passage in text for passage in passages) == (row["fate"] == "quoting")
        if row["fate"] == "copy":
            assert text == others
        if row["fate"] == "near copy":
            assert text != others and 0 < row["jaccard"] < 1
    order = {row["id"]: place for place, row in enumerate(truth)}
    assert all(order[row["of"]] < order[row["id"]] for row in truth if row["of"])


def test_a_treatment_finds_what_was_planted(run):
    folder, _, second, third = run
    left = [row for part in sorted((folder / "treat/records/documents").iterdir()) for row in rows_of(part)]
    passages = [row["text"] for row in rows_of(folder / "planted/items/passages.jsonl")]
    assert not any(passage in row["text"] for row in left for passage in passages)
    assert len({row["text"] for row in left}) == len(left)
    figures = third.metrics
    assert figures["1_exact_duplicates"]["recall"] == figures["1_exact_duplicates"]["precision"] == 1
    assert figures["2_near_duplicates"]["recall"] > 0.9 and figures["2_near_duplicates"]["precision"] == 1
    assert figures["3_contamination"]["recall"] == figures["3_contamination"]["precision"] == 1
    assert figures["4_quality"]["recall"] - figures["4_quality"]["good_taken"] > 0.2
    assert second.metrics["3_contamination"]["items"]["passages"]["dirty"] <= 0.5
    crawl = [row for part in sorted((folder / "planted/records/documents").iterdir()) for row in rows_of(part)]
    crawl = [row for row in crawl if row["corpus"] == "crawl"]
    clean = rows_of(folder / "treat/items/clean/passages.jsonl")
    assert 20 <= len(clean) < 40 and second.metrics["left"]["read"]["crawl"]["documents"] == len(crawl)  # fmt: skip
    assert "| 4_quality |" in (folder / "treat/report.md").read_text()


def test_a_treatment_goes_on_where_it_was_ended(run, tmp_path):
    folder, _, second, _ = run
    again = work("treat", tmp_path / "treat", {"data": folder / "planted/records"}, steps=second.section.steps)
    calls = []

    class Ended(Exception):
        pass

    class Failing:
        @contextmanager
        def open(self):
            yield self.run

        def run(self, function, arguments):
            for each in arguments:
                calls.append(each)
                if len(calls) == 12:
                    raise Ended
                function(*each)
                yield

    again.section = replace(again.section)
    object.__setattr__(again.section, "workers", Failing())
    with pytest.raises(Ended):
        treat.run(again)
    calls.clear()

    class Counting(Failing):
        def run(self, function, arguments):
            calls.extend(arguments)
            yield from here(function, arguments)

    again.section = replace(second.section)
    object.__setattr__(again.section, "workers", Counting())
    treat.run(again)
    assert calls and all(target.exists() for _, _, target in calls)
    done = {target.parent.parent.name for _, _, target in calls}
    assert "read" not in done  # the twelfth call is of a later step: what was before it is not done again
    for part in ("records/documents", "taken", "items/clean"):
        for path in sorted((folder / "treat" / part).iterdir()):
            assert (tmp_path / "treat" / part / path.name).read_bytes() == path.read_bytes()


def test_steps_are_judged_by_hand():
    """Of two copies one is found, of four near copies the two that are alike and one that is not, and a good one."""
    truth = pd.DataFrame(
        [("g1", "good", 1.0), ("g2", "good", 1.0), ("c1", "copy", 1.0), ("c2", "copy", 1.0), ("n1", "near copy", 0.9),
         ("n2", "near copy", 0.85), ("n3", "near copy", 0.4), ("n4", "near copy", 0.35)],
        columns=["id", "fate", "jaccard"],
    )  # fmt: skip
    found = judged(truth, {"g1", "c1", "n1", "n2", "n3"}, ("copy", "near copy"), 0.8)
    assert found["precision"] == pytest.approx(4 / 5) and found["recall"] == pytest.approx(3 / 4)
    assert found["good_taken"] == 0.5 and found["found_0.3_to_0.5"] == 0.5 and found["found_0.8_to_0.9"] == 1
    assert judged(truth, set(), ("junk",), 0.8) == {"precision": None, "recall": None, "good_taken": 0}


def test_too_few_texts_are_named(tmp_path):
    files_of(tmp_path / "data", [("a", "few words " * 25), ("b", "few words " * 25), ("c", "few words")])
    with pytest.raises(RecordError, match="1 texts give 0 passages of 60 words"):
        planted.run(work("planted", tmp_path / "out", {"data": tmp_path / "data"}))


def test_a_treatment_without_documents_or_that_leaves_none_is_refused(tmp_path):
    (tmp_path / "data/demonstrations").mkdir(parents=True)
    with pytest.raises(RecordError, match="holds no documents"):
        treat.run(work("treat", tmp_path / "out", {"data": tmp_path / "data"}))
    files_of(tmp_path / "blank", [("a", " ")])
    with pytest.raises(RecordError, match="no document has a character"):
        treat.run(work("treat", tmp_path / "two", {"data": tmp_path / "blank"}))
    files_of(tmp_path / "other", [("a", "wbe", "text")])
    with pytest.raises(RecordError, match="names the corpora crawl, reference; documents are of 'wbe'"):
        treat.run(work("treat", tmp_path / "three", {"data": tmp_path / "other"}))
    files_of(tmp_path / "one", [("a", "text")])
    asked = tmp_path / "asked.jsonl"
    asked.write_text('{"text": "text"}')
    step = Contamination(kind="contamination", against=(Against(name="a", file=str(asked)),), n=1)
    with pytest.raises(RecordError, match="1_contamination leaves no document"):
        treat.run(work("treat", tmp_path / "four", {"data": tmp_path / "one"}, steps=(step,)))


def test_a_step_that_takes_nothing_has_found_nothing(tmp_path):
    (tmp_path / "truth.jsonl").write_text('{"id": "a", "fate": "copy", "of": "b", "jaccard": 1.0}\n')
    (tmp_path / "taken").mkdir()
    found = judge(["1_exact_duplicates", "2_other"], tmp_path / "truth.jsonl", tmp_path / "taken", 0.8, audit.SOUGHT)
    assert found == {"1_exact_duplicates": {"precision": None, "recall": 0, "good_taken": None}}
