"""Classifiers measured: accuracy, correlation, the difference to the last, and what a registered one tells."""

import json
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import matthews_corrcoef
from torch.nn import functional as F

from components.checkpoints import load_classifier, load_tokenizer, save_model
from components.data.records import RecordError
from components.data.tokenizer import train_tokenizer
from components.evaluation.classes import majority, matthews
from components.evaluation.transformations import MARKERS
from components.models.classifier import ClassifierGPT
from components.serving import _load_pyfunc
from components.tasks.labels import LabelsTask
from components.training.classification import with_markers
from tests.components.classifiers import network, state


def test_matthews_is_sklearns_and_the_majority_is_what_always_telling_it_gets():
    draw = np.random.default_rng(0)
    for _ in range(20):
        own, true = draw.integers(0, 2, (2, 30)).tolist()
        assert matthews(own, true) == pytest.approx(matthews_corrcoef(true, own))
    assert matthews([1, 1, 1], [0, 1, 1]) == 0.0
    assert majority([2, 0, 2, 1, 2]) == 0.6


@pytest.fixture
def kept(tmp_path):
    """Folders of classifiers: two of two classes, and one of choices."""
    train_tokenizer([], vocab_size=0).save(str(tmp_path / "tokenizer.json"))
    two = ("no", "yes")
    made = {"own": (two, "classification"), "base": (two, "classification"), "choice": ((), "multiple_choice"),
            "three": (("a", *two), "classification")}  # fmt: skip
    for name, (classes, transformation) in made.items():
        base = network(load_tokenizer(tmp_path).vocab_size)
        with_markers(base, tmp_path, tmp_path / name, seed=len(name))
        model = ClassifierGPT.on(base, classes, transformation)
        torch.nn.init.normal_(model.head.weight)
        save_model(tmp_path / f"{name}-model", model, tmp_path / name / "tokenizer.json")
    return tmp_path


def labels_task(folder, *classifiers, rows):
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return LabelsTask(kind="labels", name="it", file=str(folder / "items.jsonl"), transformation="classification",
                      classifiers=classifiers)  # fmt: skip


def bench_of(folder, *names):
    work = SimpleNamespace(seed=0, read_all=lambda name: {each: folder / f"{each}-model" for each in names})
    return SimpleNamespace(work=work, fed={"classifiers": names}, device=torch.device("cpu"), precision="32-true")


def test_classifiers_are_measured_beside_the_last(kept):
    rows = [{"text": text, "label": label} for text, label in zip("abcdefgh", ["no", "yes"] * 4, strict=True)]
    task, metrics = labels_task(kept, "own", "base", rows=rows), defaultdict(dict)
    metrics["own"]["it"] = {"shots_4": {}}
    task.measure(bench_of(kept, "own", "base"), metrics)
    right = {}
    for name in ("own", "base"):
        model, tokenizer = load_classifier(kept / f"{name}-model"), load_tokenizer(kept / f"{name}-model")
        start, _, extract = (tokenizer.tokenizer.token_to_id(marker) for marker in MARKERS)
        scores = [F.linear(state(model.body, [start, *tokenizer.encode_text(row["text"]), extract]), model.head.weight)
                  for row in rows]  # fmt: skip
        own = [("no", "yes")[int(each.argmax())] for each in scores]
        right[name] = np.mean([said == row["label"] for said, row in zip(own, rows, strict=True)])
        found = metrics[name]["it"]
        assert found["accuracy"] == right[name] and found["majority"] == 0.5
        expected = matthews_corrcoef([row["label"] for row in rows], own)
        assert found["matthews"] == pytest.approx(expected)
    assert metrics["own"]["it"]["accuracy_difference"] == pytest.approx(right["own"] - right["base"])
    assert "shots_4" in metrics["own"]["it"] and "accuracy_difference" not in metrics["base"]["it"]
    assert set(metrics["base"]["it"]) <= {leaf.partition(".")[2] for leaf in task.leaves}


def test_of_three_classes_there_is_no_correlation_of_two(kept):
    rows = [{"text": text, "label": label} for text, label in zip("abcd", ["no", "yes"] * 2, strict=True)]
    metrics = defaultdict(dict)
    labels_task(kept, "three", rows=rows).measure(bench_of(kept, "three"), metrics)
    assert "matthews" not in metrics["three"]["it"]


def test_a_classifier_of_another_task_or_of_no_node_is_named(kept):
    rows = [{"text": "a", "label": "no"}]
    with pytest.raises(RecordError, match="choice was fine-tuned for multiple_choice, not for classification"):
        labels_task(kept, "choice", rows=rows).measure(bench_of(kept, "choice"), defaultdict(dict))
    task = labels_task(kept, "own", "bsae", rows=rows)
    assert list(task.unfed({"classifiers": ("own", "base")})) == ["bsae"]


def test_a_registered_classifier_tells_classes(kept):
    model = _load_pyfunc(str(kept / "own-model"))
    found = model.predict([{"text": "a"}, {"text": "some more"}])
    assert found == [model.predict({"text": "a"}), model.predict({"text": "some more"})]
    assert set(found) <= {"no", "yes"}
    assert _load_pyfunc(str(kept / "choice-model")).predict({"query": "a", "choices": ["b", "c", "d"]}) in (0, 1, 2)
    with pytest.raises(ValueError, match="rows are wanted with the keys of classification"):
        model.predict([{"premise": "a"}])
