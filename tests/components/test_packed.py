"""A pass without padding: every token sees what it would see alone, and gradients are those of each sequence alone."""

import pytest
import torch

from components.models import packed
from components.models.cache import LayerMemory, Memory
from components.models.packed import Packed, Segment, in_groups
from components.models.transformer import GPT
from tests.components.families import FAMILIES

CPU = torch.device("cpu")
# Row 0 whole; a beginning of row 1 that rows 1, 2 and 3 continue, each to an end of its own; a token of row 4.
SEGMENTS = [
    Segment(0, 0, 7),
    Segment(1, 0, 4),
    Segment(4, 0, 1),
    Segment(1, 4, 3, 1),
    Segment(2, 4, 6, 1),
    Segment(3, 4, 1, 1),
]
LENGTHS = [7, 7, 10, 5, 1]
STANDING = [  # where the tokens of each row are among all: counted by hand
    [0, 1, 2, 3, 4, 5, 6],
    [7, 8, 9, 10, 12, 13, 14],
    [7, 8, 9, 10, 15, 16, 17, 18, 19, 20],
    [7, 8, 9, 10, 21],
    [11],
]


@pytest.fixture
def ids():
    drawn = torch.randint(31, (5, 10), generator=torch.Generator().manual_seed(3))
    drawn[1:4, :4] = drawn[1, :4]
    return drawn


@pytest.fixture(params=FAMILIES, ids=lambda family: family.kind)
def body(request):
    torch.manual_seed(0)
    body = GPT(request.param.config(vocab_size=31, context_length=10)).double()
    for parameter in body.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return body


def memory(segments=SEGMENTS, *, layers=2):
    return Packed(segments, num_layers=layers, device=CPU)


def test_states_and_gradients_are_those_of_each_sequence_alone(body, ids):
    own = memory()
    found = body(own.of(ids), own)[0]
    assert found.shape == (22, 16)
    weights = torch.linspace(1, 2, 10, dtype=torch.float64)[:, None]
    losses = []
    for row, (length, places) in enumerate(zip(LENGTHS, STANDING, strict=True)):
        alone = body(ids[row : row + 1, :length])[0]
        torch.testing.assert_close(found[places], alone, atol=1e-12, rtol=1e-12)
        losses.append([(states * weights[:length]).square().sum() for states in (found[places], alone)])
    packed_loss, alone_loss = (torch.stack(each).sum() for each in zip(*losses, strict=True))
    used = [weight for name, weight in body.named_parameters() if name != "output.weight"]
    found, expected = (torch.autograd.grad(loss, used) for loss in (packed_loss, alone_loss))
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)


@torch.no_grad()
def test_tokens_are_cut_from_their_rows(ids):
    own = memory()
    for row, (length, places) in enumerate(zip(LENGTHS, STANDING, strict=True)):
        assert torch.equal(own.of(ids)[0, places], ids[row, :length])
        assert own.start(22)[0, places].tolist() == list(range(length))


@torch.no_grad()
def test_no_sequence_may_be_longer_than_the_context_but_all_together_may(body, ids):
    assert sum(LENGTHS) > body.config.context_length
    long = memory([Segment(0, 0, 4), Segment(0, 4, 7, 0)])
    with pytest.raises(ValueError, match="11 tokens exceed the context of 10"):
        body(long.of(torch.zeros(1, 11, dtype=torch.long)), long)
    own = memory()
    with pytest.raises(ValueError, match="3 tokens where the segments have 22"):
        body(ids[:1, :3], own)


@pytest.mark.parametrize(
    "segments",
    [
        [],
        [Segment(0, 0, 3, 0)],
        [Segment(0, 0, 3), Segment(0, 3, 2, 1)],
        [Segment(0, 0, 3), Segment(0, 3, 2, 0), Segment(1, 0, 2)],
    ],
    ids=["none", "continues itself", "continues one that does not begin", "begins behind one that continues"],
)
def test_segments_that_continue_nothing_come_first(segments):
    with pytest.raises(ValueError, match="can continue none but one that stands before"):
        memory(segments)


def test_an_empty_segment_is_refused():
    with pytest.raises(ValueError, match="every segment needs a token"):
        memory([Segment(0, 0, 3), Segment(0, 3, 0, 0)])


def test_it_is_a_memory():
    assert isinstance(memory(), Memory) and isinstance(memory().layers[0], LayerMemory)


def test_groups_are_as_large_as_they_may_be_and_what_is_larger_is_alone(monkeypatch):
    monkeypatch.setitem(packed.TOGETHER, "cpu", 10)
    sizes = [4, 6, 1, 30, 10, 3]
    assert list(in_groups(range(6), sizes, CPU)) == [[0, 1], [2], [3], [4], [5]]
    assert list(in_groups([2, 5, 0, 1, 4, 3], sizes, CPU)) == [[2, 5, 0], [1], [4], [3]]
    assert list(in_groups([], sizes, CPU)) == []
