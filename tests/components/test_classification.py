"""GPT's fine-tuning: sequences by hand, scores against single passes, losses against loops, and transfer."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import OpenAIGPTConfig, OpenAIGPTForSequenceClassification

from components.checkpoints import CheckpointError, load_classifier, load_gpt, load_tokenizer, save_model
from components.data.records import RecordError
from components.data.tokenizer import train_tokenizer
from components.evaluation.classes import told
from components.evaluation.items import Choice, Entailment, LabelledText, Similarity
from components.evaluation.transformations import MARKERS, classes_of, encode, encode_all, places
from components.models.classifier import ClassifierGPT
from components.models.families.gpt1 import weights as layout
from components.runtime import StageStopped
from components.stages.finetune import read_splits, transferred
from components.training.classification import ClassificationModule, with_markers
from tests.components.classifiers import network, state


@pytest.fixture
def tokenizer(tmp_path):
    """A byte a token; and what it is kept in with a model."""
    train_tokenizer([], vocab_size=0).save(str(tmp_path / "tokenizer.json"))
    base = network(int(load_tokenizer(tmp_path).vocab_size))
    return with_markers(base, tmp_path, tmp_path / "with", seed=0)


def test_sequences_are_those_of_figure_1(tokenizer):
    start, delimiter, extract = (tokenizer.tokenizer.token_to_id(marker) for marker in MARKERS)
    a, b, c = ([int(i) for i in tokenizer.encode_text(text)] for text in "abc")

    def sequences(item, name):
        return encode_all([item], name, tokenizer, 24)[0]

    assert sequences(LabelledText(text="ab", label="x"), "classification") == [[start, *a, *b, extract]]
    assert sequences(Entailment(premise="a", hypothesis="b", label="x"), "entailment") == [
        [start, *a, delimiter, *b, extract]
    ]
    both = [[start, *a, delimiter, *b, extract], [start, *b, delimiter, *a, extract]]
    assert sequences(Similarity(first="a", second="b", label="x"), "similarity") == both
    assert sequences(Similarity(first="b", second="a", label="x"), "similarity") == both
    assert sequences(Choice(query="a", choices=("b", "c", "b"), gold=1), "multiple_choice") == [
        [start, *a, delimiter, *each, extract] for each in (b, c, b)
    ]


def test_texts_that_are_too_long_lose_their_ends_each_beyond_its_share(tokenizer):
    start, delimiter, extract = (tokenizer.tokenizer.token_to_id(marker) for marker in MARKERS)
    assert len(encode(("a" * 100,), tokenizer, 24)) == 24
    ids = encode(("abcdefghijklmnop", "xy"), tokenizer, 24)
    assert ids[:11] == [start, *tokenizer.encode_text("abcdefghij")]
    assert ids[11:] == [delimiter, *tokenizer.encode_text("xy"), extract]


def test_text_cannot_forge_a_marker(tokenizer):
    ids = encode(("a<|extract|>b", "<|delimiter|>"), tokenizer, 64)
    extract, delimiter = (tokenizer.tokenizer.token_to_id(marker) for marker in ("<|extract|>", "<|delimiter|>"))
    assert ids.count(extract) == ids.count(delimiter) == 1


ITEMS = [[[5, 6, 7], [5, 8]], [[1, 2, 3, 4], [9, 9, 2, 1]], [[4], [4, 4, 4, 4, 4, 4]]]


def test_states_of_an_item_are_added_before_the_map():
    model = ClassifierGPT.on(network(), ("no", "perhaps", "yes")).requires_grad_(False)
    torch.nn.init.normal_(model.head.weight)
    found = model(ITEMS).scores
    for item, scores in zip(ITEMS, found, strict=True):
        states = sum(state(model.body, ids) for ids in item)
        torch.testing.assert_close(scores, F.linear(states, model.head.weight, model.head.bias), atol=1e-5, rtol=1e-5)


def test_choices_are_scored_each_alone_and_what_is_not_there_is_never_taken():
    model = ClassifierGPT.on(network(), ()).requires_grad_(False)
    items = [[[5, 6], [5, 7, 7]], [[1], [2], [3, 4], [9, 9, 9]]]
    found = model(items).scores
    assert found.shape == (2, 4) and torch.isneginf(found[0, 2:]).all()
    for item, scores in zip(items, found, strict=True):
        alone = torch.cat([F.linear(state(model.body, ids), model.head.weight, model.head.bias) for ids in item])
        torch.testing.assert_close(scores[: len(item)], alone, atol=1e-5, rtol=1e-5)
    assert told(model, items) == [int(found[0, :2].argmax()), int(found[1].argmax())]


def test_scores_are_those_of_transformers_with_the_same_weights():
    model = ClassifierGPT.on(network(), ("a", "b")).requires_grad_(False)
    shape = {"n_positions": 24, "n_embd": 16, "n_layer": 3, "n_head": 2}
    config = OpenAIGPTConfig(vocab_size=40, num_labels=2, pad_token_id=0, **shape)
    theirs = OpenAIGPTForSequenceClassification(config).eval().requires_grad_(False)
    own = model.body.state_dict()
    for name, stored in layout(model.config).items():
        weight = own[name].T if stored.form == "transposed" else own[name]
        theirs.transformer.get_parameter(stored.names[0]).copy_(weight)
    theirs.score.weight.copy_(model.head.weight)
    for ids in ([3, 4, 5], [7] * 20):
        expected = theirs(torch.tensor([ids])).logits[0]
        torch.testing.assert_close(model([[ids]]).scores[0], expected, atol=1e-5, rtol=1e-5)


def test_similarity_is_exactly_the_same_in_either_order(tokenizer):
    model = ClassifierGPT.on(network(tokenizer.vocab_size), ("no", "yes")).requires_grad_(False)
    draw = np.random.default_rng(0)
    texts = ["".join(draw.choice(list("abcdef"), draw.integers(1, 9))) for _ in range(40)]
    pairs = list(zip(texts[::2], texts[1::2], strict=True))

    def scores(order):
        items = [Similarity(first=first, second=second, label="x") for first, second in order]
        return model(encode_all(items, "similarity", tokenizer, 24)).scores

    assert torch.equal(scores(pairs), scores([pair[::-1] for pair in pairs]))


class Alone(ClassificationModule):
    """A module without Lightning's trainer."""

    device = torch.device("cpu")

    def total(self, value):
        return value

    def minimise(self, loss):
        self.minimised = float(loss)
        return 0.0


@pytest.mark.parametrize("auxiliary", [0.0, 0.5])
def test_the_loss_is_that_of_the_classes_and_of_the_texts(auxiliary):
    """L3 = L2 + lambda L1: L1 is the mean over sequences of each one's mean over tokens, as in the released code."""
    body = network()
    model = ClassifierGPT.on(body, ("no", "yes"))
    module = object.__new__(Alone)
    torch.nn.Module.__init__(module)
    section = SimpleNamespace(auxiliary=auxiliary)
    vars(module).update(params=section, items=ITEMS, classes=torch.tensor([1, 0, 1]), precision="32-true")
    module.network = model
    figures = module.train_on(([0, 1, 2], True), 0)
    own, texts = [], []
    for item, right in zip(ITEMS, (1, 0, 1), strict=True):
        states = sum(state(body, ids) for ids in item)
        own.append(F.cross_entropy(F.linear(states, model.head.weight, model.head.bias), torch.tensor(right)))
        for ids in item:
            if len(ids) > 1:
                logits = body.logits(body(torch.tensor([ids])))[0, :-1]
                texts.append(F.cross_entropy(logits, torch.tensor(ids[1:])))
    count = sum(len(item) for item in ITEMS)
    expected = sum(own) / 3 + auxiliary * sum(texts) / count
    assert module.minimised == pytest.approx(float(expected), rel=1e-5)
    assert figures["train/loss"] == pytest.approx(float(sum(own)) / 3, rel=1e-5)
    assert module.tokens == sum(len(ids) for item in ITEMS for ids in item)


def test_so_many_blocks_are_transferred_and_the_rest_is_new():
    base = network()
    old = base.state_dict()

    def same(model):
        return {name for name, weight in model.state_dict().items() if torch.equal(weight, old[name])}

    assert transferred(base, "all") is base
    tables = {"token_embedding.weight", "position_embedding.weight"}
    assert not same(transferred(base, "none")) & {name for name, weight in old.items() if weight.ndim > 1}
    matrices = {name for name in same(transferred(base, 2)) if old[name].ndim > 1}
    first = {name for name in old if name.startswith(("blocks.0.", "blocks.1.")) and old[name].ndim > 1}
    assert matrices == first | tables
    with pytest.raises(StageStopped, match="transferred is 4, and the model has 3 blocks"):
        transferred(base, 4)


def test_markers_are_new_rows_and_all_else_is_as_it_was(tmp_path):
    train_tokenizer([], vocab_size=0).save(str(tmp_path / "tokenizer.json"))
    size = load_tokenizer(tmp_path).vocab_size
    body = network(size)
    before = body.token_embedding.weight.detach().clone()
    tokenizer = with_markers(body, tmp_path, tmp_path / "own", seed=3)
    assert [tokenizer.tokenizer.token_to_id(marker) for marker in MARKERS] == [size, size + 1, size + 2]
    assert torch.equal(body.token_embedding.weight[:size], before)
    assert 0.005 < body.token_embedding.weight[size:].std() < 0.05
    assert body.config.vocab_size == size + 3
    again = with_markers(body, tmp_path / "own", tmp_path / "twice", seed=4)
    assert again.vocab_size == size + 3 and body.config.vocab_size == size + 3


def test_a_classifier_is_kept_with_its_classes_and_is_no_language_model(tmp_path):
    train_tokenizer([], vocab_size=0).save(str(tmp_path / "tokenizer.json"))
    model = ClassifierGPT.on(network(), ("no", "yes"), "similarity").requires_grad_(False)
    save_model(tmp_path / "model", model, tmp_path / "tokenizer.json")
    loaded = load_classifier(tmp_path / "model")
    assert (loaded.classes, loaded.transformation) == (("no", "yes"), "similarity")
    assert torch.equal(loaded(ITEMS).scores, model(ITEMS).scores)
    with pytest.raises(CheckpointError, match="holds no language model"):
        load_gpt(tmp_path / "model")
    save_model(tmp_path / "base", network(), tmp_path / "tokenizer.json")
    with pytest.raises(CheckpointError, match="holds no classifier"):
        load_classifier(tmp_path / "base")


def test_a_class_that_was_not_trained_on_is_named(tmp_path):
    items = [LabelledText(text="a", label="odd"), LabelledText(text="b", label="even")]
    assert classes_of(items, "classification") == ("even", "odd")
    assert places(items, "classification", ("even", "odd"), path=tmp_path) == [1, 0]
    with pytest.raises(RecordError, match=r"trained on the class\(es\) odd, only on even, new"):
        places(items, "classification", ("even", "new"), path=tmp_path)


def alone(labels, batch_size, epochs=3):
    """A module over so many items without a stage, its rows and steps as they are."""
    section = SimpleNamespace(auxiliary=0.5, batch_size=batch_size, epochs=epochs, optimizer=None)
    stage = SimpleNamespace(section=section, seed=0, name="it", scratch=Path())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("components.training.fit.precision_of", lambda stage: "32-true")
        return Alone(
            stage, ClassifierGPT.on(network(), ("no", "yes")), (ITEMS * 20)[:labels], ([1, 0, 1] * 20)[:labels]
        )


@pytest.mark.parametrize(("labels", "batch_size"), [(33, 32), (40, 32), (3, 32), (60, 7)])
def test_each_row_is_read_as_often_as_there_are_epochs(labels, batch_size):
    module = alone(labels, batch_size)
    read = Counter(row for step in range(module.total_steps) for row in module.rows(step))
    assert set(read) == set(range(labels))
    assert 3 * labels <= sum(read.values()) < 3 * labels + min(labels, batch_size)  # the last batch is full
    assert set(read.values()) <= {3, 4}


def test_a_process_without_a_row_takes_part_with_one_that_counts_nothing():
    module = alone(3, 1)
    module.share = lambda rows: rows[1:]
    batch = module.make_batch(0)
    assert batch == ([0], False)
    module.total = lambda value: value + (torch.tensor([1, 2]) if value.ndim else 0)  # the other process has a row
    figures = module.train_on(batch, 0)
    assert module.minimised == figures["train/loss"] == figures["train/language_loss"] == 0.0
    assert module.tokens == 0


def test_accuracy_of_items_with_unlike_numbers_of_choices():
    model = ClassifierGPT.on(network(), ()).requires_grad_(False)
    items = [[[5, 6], [5, 7, 7]]] * 64 + [[[1], [2], [3, 4], [9, 9, 9]]]  # of two parts
    module = alone(3, 1)
    module.network = model
    right = [0] * 64 + [3]
    found = module.accuracy(items, right)
    scores = [
        [float(F.linear(state(model.body, ids), model.head.weight, model.head.bias)) for ids in item] for item in items
    ]
    expected = np.mean([np.argmax(own) == gold for own, gold in zip(scores, right, strict=True)])
    nats = np.mean([np.log(np.exp(own).sum()) - own[gold] for own, gold in zip(scores, right, strict=True)])
    assert found == pytest.approx({"accuracy": expected, "loss": nats}, rel=1e-5)


def test_rows_of_one_class_teach_nothing(tmp_path):
    for split in ("train", "validation"):
        (tmp_path / f"{split}.jsonl").write_text('{"text": "a", "label": "x"}\n' * 3 + '{"text": "b", "label": "y"}\n')
    assert read_splits(tmp_path, "classification", 0)[1] == ("x", "y")
    with pytest.raises(RecordError, match="all 3 rows are of the class x"):
        read_splits(tmp_path, "classification", 3)
