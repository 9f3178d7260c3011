"""Items behind answered examples: their texts by hand, what is drawn, and a model that needs two examples."""

import json
from collections import defaultdict
from types import SimpleNamespace

import pytest

from components.benchmark import parse_task
from components.data.records import RecordError
from components.evaluation.items import Answered, Choice, Cloze
from components.evaluation.likelihood import Likelihood
from components.gates import look_up
from components.params import ParamsError
from components.tasks.cloze import ClozeTask


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def rows(count, offset=0):
    return [{"context": f"{number} is", "completion": f" {number + 1}"} for number in range(offset, offset + count)]


def few_shot(folder, task, shots=(0, 1, 2, 4), examples=None, **more):
    examples = write(folder / "examples.jsonl", examples or rows(9, offset=100))
    return parse_task(json.dumps({"kind": "few_shot", "task": task, "examples": examples, "shots": shots, **more}))


@pytest.fixture
def cloze(tmp_path):
    items = write(tmp_path / "items.jsonl", rows(30))
    return few_shot(tmp_path, {"kind": "cloze", "name": "next", "file": items}, separator="\n")


@pytest.mark.parametrize(("item", "example", "task", "expected"), [
    (Cloze(context="2 is", completion=" 3"), Cloze(context="7 is", completion=" 8"), {"kind": "cloze"}, "7 is 8\n2 is"),
    (Answered(query="2?", answer="3"), Answered(query="7?", answer="8"), {"kind": "exact_match", "max_new_tokens": 2},
     "7? 8\n2?"),
    (Choice(query="2?", choices=("1", "3"), gold=1), Choice(query="7?", choices=("8", "9"), gold=0),
     {"kind": "multiple_choice", "delimiter": "="}, "7?=8\n2?"),
])  # fmt: skip
def test_an_item_stands_behind_its_examples(tmp_path, item, example, task, expected):
    made = few_shot(tmp_path, {**task, "name": "it", "file": write(tmp_path / "i.jsonl", rows(1))}, separator="\n")
    behind = made.after(item, [example])
    assert getattr(behind, made.task.asked) == expected
    assert made.after(item, []) == item


def test_examples_are_drawn_for_each_item_and_more_shots_are_fewer_and_some_more(cloze):
    items = cloze.task.items()
    pool = [*ClozeTask(kind="cloze", name="x", file=cloze.examples).items(), *items[:3]]
    drawn = cloze.drawn(items, pool, seed=1)
    assert drawn == cloze.drawn(items, pool, seed=1) != cloze.drawn(items, pool, seed=2)
    assert all(len(own) == 4 and item not in own for item, own in zip(items, drawn, strict=True))
    assert len({tuple(example.context for example in own) for own in drawn}) > 20
    counts = defaultdict(int)
    for own in cloze.drawn(items * 40, pool, seed=3):
        for example in own:
            counts[example.context] += 1
    assert len(counts) == 12 and max(counts.values()) < 1.5 * min(counts.values())


def test_as_many_examples_are_shown_as_are_said_where_some_say_what_the_item_says(tmp_path):
    items = write(tmp_path / "items.jsonl", rows(3))
    task = {"kind": "cloze", "name": "next", "file": items}
    made = few_shot(tmp_path, task, shots=(0, 4), examples=rows(3) * 5 + rows(2, offset=50))
    for name, behind in made.sets(seed=0):
        assert [item.context.count("\n\n") for item in behind] == [int(name.removeprefix("next.shots_"))] * 3
    for item, own in zip(made.task.items(), made.drawn(made.task.items(), made.task.items() * 5, seed=0), strict=True):
        assert len(own) == 4 and item not in own


def test_a_task_of_its_items_alone_leaves_the_curve(cloze, tmp_path, monkeypatch):
    monkeypatch.setattr(ClozeTask, "subject", lambda self, bench, name: NeedsTwo())
    work = SimpleNamespace(seed=0, path=lambda name: tmp_path / name)
    bench, metrics = SimpleNamespace(fed=defaultdict(tuple, models=("gpt",)), work=work), defaultdict(dict)
    cloze.measure(bench, metrics)
    cloze.task.measure(bench, metrics)
    assert look_up(metrics, "gpt.next.accuracy") == 0.0 and look_up(metrics, "gpt.next.shots_4.accuracy") == 1.0


class NeedsTwo:
    """Knows how a text goes on once it has seen two examples."""

    def likelihoods(self, pairs):
        return [Likelihood(-1.0, tokens=1, greedy=context.count("\n") >= 2) for context, _ in pairs]


def test_the_curve_is_that_of_a_model_that_needs_two_examples(cloze, tmp_path, monkeypatch):
    monkeypatch.setattr(ClozeTask, "subject", lambda self, bench, name: NeedsTwo())
    fed = defaultdict(tuple, models=("gpt",))
    work = SimpleNamespace(seed=0, path=lambda name: tmp_path / name)
    metrics = defaultdict(dict)
    cloze.measure(SimpleNamespace(fed=fed, work=work), metrics)
    found = {k: look_up(metrics, f"gpt.next.shots_{k}.accuracy") for k in (0, 1, 2, 4)}
    assert found == {0: 0.0, 1: 0.0, 2: 1.0, 4: 1.0}
    assert (tmp_path / "plots/next_shots.png").stat().st_size > 1000
    assert [line[1] for line in cloze.known_by(fed)] == [f"next.shots_{k}.accuracy" for k in (0, 1, 2, 4)]
    made = {f"next.{shots}.{leaf}" for shots, own in metrics["gpt"]["next"].items() for leaf in own}
    assert made <= set(cloze.leaves)


def test_what_cannot_be_shown_is_refused(tmp_path):
    task = {"kind": "passages", "name": "it", "file": "x.jsonl"}
    with pytest.raises(ParamsError, match="before an item of passages no examples can stand"):
        few_shot(tmp_path, task)
    items = write(tmp_path / "items.jsonl", rows(3))
    with pytest.raises(ParamsError, match="one of them stands there twice"):
        few_shot(tmp_path, {"kind": "cloze", "name": "next", "file": items}, shots=(1, 1))
    made = few_shot(tmp_path, {"kind": "cloze", "name": "next", "file": items}, shots=(0, 10))
    with pytest.raises(RecordError, match=r"has 9 examples for an item, and 10 are to be shown"):
        made.measure(SimpleNamespace(fed=defaultdict(tuple), work=SimpleNamespace(seed=0)), defaultdict(dict))
