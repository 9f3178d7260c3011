"""People's answers become records: what trains, what does not, in which split, and what the figures say."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from components import params as parameters
from components.data.digests import file_md5
from components.data.records import Comparison, Demonstration, RecordError, group_of, read_records
from components.labeling.answers import Given, write
from components.labeling.collecting import SPLITS, collect
from components.labeling.journal import Journal
from components.labeling.simulated import calibrate
from components.labeling.snapshot import export
from components.pipelines import open_pipeline
from components.stages import compare, gather
from components.work import Work
from tests.components.labels import SOURCE, make_answer, make_feedback, make_task, said
from tests.contracts.imports import ROOT

PIPELINE = open_pipeline("rounds", ROOT)
TREE = parameters.read_tree(ROOT / PIPELINE.params_file)
TOKENIZER = Path("artifacts/prepare/tokenizer.json")


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    TOKENIZER.parent.mkdir(parents=True)
    TOKENIZER.write_text("{}")


def make_work(name, **changes):
    section, shared = parameters.of_node(TREE, PIPELINE, name)
    out = PIPELINE.artifacts / name
    out.mkdir(parents=True, exist_ok=True)
    return Work(name, PIPELINE, replace(section, **changes), shared, out, Path(), Path(), None)


def put(tasks=(), answers=(), feedback=(), number=1):
    for name, records in (("tasks", tasks), ("answers", answers), ("feedback", feedback)):
        write(Path(f"labels/round-{number:02d}/{name}.jsonl"), records)


def gathered(number=1, **changes):
    """The stage's comparisons, demonstrations, provenance by record, and figures."""
    work = make_work(f"gather-{number}", **changes)
    gather.run(work)
    comparisons = list(read_records(work.path("comparisons.jsonl"), Comparison))
    demonstrations = list(read_records(work.path("demonstrations.jsonl"), Demonstration))
    rows = map(json.loads, work.path("provenance.jsonl").read_text().splitlines())
    return comparisons, demonstrations, {row["id"]: row for row in rows}, work.metrics


def test_a_ranking_is_a_comparison_of_the_prompts_conversation_and_its_origin_is_kept():
    put([make_task("t")], [make_answer("a", "t", ranks=(2, 1, 2, 4), order=(3, 1, 0, 2), quality=(4, 7, 4, 1))])
    (comparison,), demonstrations, about, figures = gathered()
    assert (comparison.id, comparison.group, comparison.messages) == ("a", "talk-t", said("question t"))
    assert comparison.replies == ("one", "two", "three", "four") and comparison.ranks == (2, 1, 2, 4)
    assert not demonstrations and figures["comparisons"] == 1
    assert about["a"]["worker"] == "ann" and about["a"]["shown_order"] == [3, 1, 0, 2]
    assert about["a"]["weights_sha256"] == ["ab" * 32] * 4 and about["a"]["seconds"] == 9.5
    assert about["a"]["quality"] == [4, 7, 4, 1] and about["a"]["models"] == ["gpt-ppo/3"] * 4


def test_skips_ratings_repetitions_and_gold_are_no_comparisons():
    put(
        [make_task("t"), make_task("gold", gold=(1, 2, 3, 4))],
        [
            make_answer("a", "t"),
            make_answer("b", "t", repeat=True),
            make_answer("c", "t", worker="bob", kind="skip"),
            make_answer("d", "t", worker="cat", kind="rating", quality=(1, 2, 3, 4)),
            make_answer("e", "gold"),
        ],
    )
    comparisons, _, _, figures = gathered()
    assert [row.id for row in comparisons] == ["a"]
    assert (figures["answers"], figures["skips"], figures["repetitions"]) == (5, 1, 1)


def test_sampled_ids_are_kept_where_they_are_the_pipelines_own():
    own = replace(SOURCE, tokenizer_md5=file_md5(TOKENIZER))
    more = {"sampled": ((1, 2), (3,), (4,), (5,)), "ended": (True, False, False, True)}
    put(
        [make_task("t", **more, sources=(own,) * 4), make_task("u", **more, sources=(own, own, own, SOURCE))],
        [make_answer("a", "t"), make_answer("b", "u")],
    )
    (first, second), *_ = gathered()
    assert (first.sampled, first.ended) == (more["sampled"], more["ended"])
    assert (second.sampled, second.ended) == ((), ())  # another tokenizer's: the text counts


def test_what_was_written_is_a_demonstration_and_a_correction_is_one_and_a_comparison():
    put(
        [make_task("d", kind="demonstration")],
        [make_answer("a", "d", kind="demonstration", text="Like this.")],
        [make_feedback("f", value=-1, correction="Hello! How are you?")],
    )
    (comparison,), (written, corrected), about, figures = gathered()
    assert [turn.content for turn in written.messages] == ["question d", "Like this."]
    assert written.group == "talk-d" and corrected.group == comparison.group == "chat-f"
    assert corrected.messages[-1].content == "Hello! How are you?"
    assert comparison.replies == ("Hello! How are you?", "hi there") and comparison.ranks == (1, 2)
    assert about["f"]["feedback"] == ["f"] and figures["models"] == {"gpt-ppo/3": {"thumbs_up_share": 0.0}}


def test_thumbs_train_where_they_tell_replies_to_the_same_message_apart():
    chat = {"conversation": "c"}
    put(feedback=[make_feedback("f", reply="no", value=-1, **chat), make_feedback("g", reply="yes", value=1, **chat),
                  make_feedback("h", reply="alone", value=-1)])  # fmt: skip
    (comparison,), demonstrations, *_ = gathered()
    assert (comparison.replies, comparison.ranks) == (("no", "yes"), (2, 1)) and not demonstrations


def test_no_labels_are_empty_files():
    put([make_task("t")])
    comparisons, demonstrations, about, figures = gathered()
    assert not comparisons and not demonstrations and not about
    assert (figures["tasks"], figures["answers"], "agreement" in figures) == (1, 0, False)


def test_an_answer_that_does_not_fit_its_task_is_named():
    put([make_task("t", replies=("one", "two"))], [make_answer("a", "t")])
    with pytest.raises(RecordError, match="answer a: shown_order: 4 for 2 replies"):
        gathered()
    put([], [make_answer("a", "t")])
    with pytest.raises(RecordError, match="answer a answers a task that is not there, t"):
        gathered()


def test_who_did_not_order_the_gold_tasks_or_picks_the_first_is_left_out():
    tasks = [make_task("gold", gold=(1, 2, 3, 3)), *(make_task(f"t{n}") for n in range(12))]
    orders = [tuple(np.random.default_rng(n).permutation(4).tolist()) for n in range(12)]
    right, wrong = (1, 2, 3, 4), (4, 3, 2, 1)
    answers = [make_answer("ann-gold", "gold", ranks=right), make_answer("bob-gold", "gold", worker="bob", ranks=wrong)]
    for number, order in enumerate(orders):
        for worker in ("ann", "bob", "cat"):
            first = tuple(1 if place == order[0] else 2 for place in range(4))
            ranks = first if worker == "cat" else right
            answers.append(make_answer(f"{worker}-{number}", f"t{number}", worker=worker, ranks=ranks, order=order))
    put(tasks, answers)
    comparisons, _, about, figures = gathered()
    assert {about[row.id]["worker"] for row in comparisons} == {"ann"} and len(comparisons) == 12
    assert (figures["left_out"], figures["flagged"]) == (2, 1)
    assert figures["workers"]["ann"]["gold_share"] == 1.0 and figures["workers"]["bob"]["gold_share"] == 0.0
    assert figures["workers"]["cat"]["flagged"] == 1 and figures["workers"]["cat"]["first_place"] == 1.0
    comparisons, *_ = gathered(flagged="keep", qualification=0.0)
    assert len(comparisons) == 36


def labelled(count, *, number=1, workers=("ann", "bob", "cat")):
    """A round in which robots with the taste of the 73 % labeler press a journal's buttons, two a task; exported."""
    rng = np.random.default_rng(number)
    golds = {f"r{number}-t{n:03d}": rng.normal(0, 0.45, 4) for n in range(count)}
    model = calibrate(list(golds.values()), agreement=0.73, tie_margin=0.05)
    journal = Journal(Path(f"journal-{number}.sqlite"))
    journal.add(make_task(name, round=number, workers=2, again=n % 5 == 0, group=f"talk-{n}", prompt_id=f"talk-{n}:3")
                for n, name in enumerate(golds))  # fmt: skip
    idle = set()
    while len(idle) < len(workers):
        for worker in workers:
            lease = journal.take(worker)
            if lease is None:
                idle.add(worker)
                continue
            ranks = model.rank(golds[lease.task.id], rng)
            shown = tuple(ranks[place] for place in lease.shown_order)
            journal.answer(worker, lease.id, Given(kind="ranking", ranks=shown, seconds=4.0))
    export(journal, Path("labels"))
    journal.close()


def test_a_hundred_tasks_labelled_twice_measure_the_agreement_of_the_labeler():
    labelled(100)
    comparisons, _, _, figures = gathered()
    agreement = figures["agreement"]
    assert len(comparisons) == 200 and agreement["tasks"] == 100
    assert agreement["low"] < 0.73 < agreement["high"] and agreement["share"] == pytest.approx(0.73, abs=0.04)
    assert agreement["alpha"] == pytest.approx(0.385, abs=0.08)
    assert figures["self_agreement"]["tasks"] >= 5 and figures["flagged"] == 0
    assert figures["first_place"]["low"] < figures["first_place"]["chance"] == 0.25 < figures["first_place"]["high"]


def collected(number):
    work = make_work(f"compare-{number}")
    collect(work)
    rows = {name: list(read_records(work.path(f"{name}.jsonl"), Comparison)) for name in SPLITS}
    assert json.loads(work.path("labeler.json").read_text()) == {"kind": "file"}
    return rows


def test_comparisons_of_people_train_and_a_test_conversation_stays_one_in_every_round():
    splits = {}
    for number in (1, 2):
        labelled(60, number=number)
        gathered(number)
        rows = collected(number)
        assert sum(map(len, rows.values())) == 120 * number  # the rounds before are learnt from again
        for name, own in rows.items():
            for row in own:
                assert splits.setdefault(group_of(row), name) == name
    assert len(splits) == 60 and Counter(splits.values()).keys() == set(SPLITS)


def test_a_round_that_nobody_has_answered_is_a_sentence():
    put([make_task("t")])
    gathered()
    with pytest.raises(RecordError, match=r"compare.labeler is `people`, but nobody has ranked replies yet"):
        collect(make_work("compare-1"))


def test_people_are_a_labeler_of_the_declaration():
    assert isinstance(make_work("compare-1").section.labeler, compare.PeopleLabeler)
