"""Sequences of unlike length in one forward pass without padding: maps and norms see tokens, attention alone rows.

Of a batch of ragged chats half of the positions are padding, and products are most of what a model costs. A prompt
that several replies have is there once, and they continue it.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from components.models.attention import attend, causal, in_sight, split_heads

# Tokens that go through a model together: more would leave a CPU's caches; elsewhere kernels should
# be long, but each reply has a copy of its prompt's keys and values.
TOGETHER = {"cpu": 2048}
TOGETHER_ELSEWHERE = 2**14


def in_groups(order: Iterable[int], sizes: Sequence[int], device: torch.device) -> Iterator[list[int]]:
    """Numbers of things in groups, in an order, of as many tokens at most as should go through a model together."""
    most = TOGETHER.get(device.type, TOGETHER_ELSEWHERE)
    group: list[int] = []
    tokens = 0
    for number in order:
        if group and tokens + sizes[number] > most:
            yield group
            group, tokens = [], 0
        group.append(number)
        tokens += sizes[number]
    if group:
        yield group


class Segment(NamedTuple):
    """Tokens [start, start + length) of a row of ids. They see those before them, and the segment they continue."""

    row: int
    start: int
    length: int
    parent: int | None = None  # its number


class _Padded(Function):
    """Vectors of tokens as rows; what lies behind a row's end is arbitrary and has no gradient."""

    @staticmethod
    def forward(ctx: Any, packed: Tensor, tokens: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        return packed.index_select(0, tokens.flatten()).view(*tokens.shape, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        """A row's own tokens alone were asked for: slopes behind its end are zeros."""
        (places,) = ctx.saved_tensors
        return slope.flatten(0, 1).index_select(0, places), None, None


class _Unpadded(Function):
    """The other way: vectors of rows as tokens."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.shape = padded.shape
        return padded.flatten(0, 1).index_select(0, places)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        rows, width, size = ctx.shape
        return slope.new_zeros(rows * width, size).index_copy_(0, places, slope).view(ctx.shape), None


class Rows:
    """Where the tokens of runs that stand one after another would be in rows of the longest one's width."""

    def __init__(self, lengths: Int[Tensor, "B"], device: torch.device) -> None:
        columns = torch.arange(int(lengths.max()))
        self.real = (columns < lengths[:, None]).to(device)  # [B, T]
        self.full = int(lengths.min()) == len(columns)
        self.places = self.real.flatten().nonzero()[:, 0]  # of each token, in B x T
        begin = lengths.cumsum(0) - lengths
        self.tokens = (begin[:, None] + torch.minimum(columns, lengths[:, None] - 1)).to(device)  # [B, T]

    def pad(self, packed: Float[Tensor, "N W"]) -> Float[Tensor, "B T W"]:
        """Tokens as rows."""
        if self.full:
            return packed.view(*self.tokens.shape, -1)
        found: Tensor = _Padded.apply(packed, self.tokens, self.places)  # type: ignore[no-untyped-call]
        return found

    def unpad(self, padded: Float[Tensor, "B T W"]) -> Float[Tensor, "N W"]:
        """Rows as tokens."""
        if self.full:
            return padded.flatten(0, 1)
        found: Tensor = _Unpadded.apply(padded, self.places)  # type: ignore[no-untyped-call]
        return found


class Packed:
    """The memory of one pass over all tokens of some segments, one segment behind the other.

    Raises:
        ValueError: no segments, an empty one, or one before or without the one that it continues.
    """

    class Layer:
        """One block's share, which keeps nothing."""

        def __init__(self, owner: "Packed") -> None:
            self.owner = owner

        def attend(
            self, heads: Float[Tensor, "1 N A E"], kv_heads: int, band: int | None = None
        ) -> Float[Tensor, "1 N H E"]:
            """Each token to those before it in its segment, and to the segment that this continues."""
            owner, size = self.owner, heads.shape[-1]
            tokens = heads[0].flatten(1)
            rows = owner.roots.pad(tokens[: owner.cut])
            root = split_heads(rows.view(*rows.shape[:2], -1, size), kv_heads)
            found = owner.roots.unpad(
                attend(*root, causal(rows.shape[1], band, rows.device)).transpose(1, 2).flatten(2)
            )
            if owner.branches is not None:
                rows = owner.branches.pad(tokens[owner.cut :])
                branch = split_heads(rows.view(*rows.shape[:2], -1, size), kv_heads)
                before = [each.index_select(0, owner.parents) for each in root[1:]]
                keys, values = (torch.cat(both, dim=2) for both in zip(before, branch[1:], strict=True))
                mixed = attend(branch[0], keys, values, owner.seen(band)).transpose(1, 2).flatten(2)
                found = torch.cat([found, owner.branches.unpad(mixed)])
            return found.view(1, len(tokens), -1, size)

    def __init__(self, segments: Sequence[Segment], *, num_layers: int, device: torch.device) -> None:
        """Segments that continue none stand before those that do."""
        parents = [segment.parent for segment in segments if segment.parent is not None]
        first = len(segments) - len(parents)
        ordered = all(segment.parent is None for segment in segments[:first])
        if not first or not ordered or any(not 0 <= parent < first for parent in parents):
            raise ValueError("a segment can continue none but one that stands before all that continue any")
        rows, starts, lengths = torch.tensor([segment[:3] for segment in segments]).unbind(1)
        if int(lengths.min()) < 1:
            raise ValueError("every segment needs a token")
        begin = lengths.cumsum(0) - lengths
        self.begins: list[int] = begin.tolist()  # where each segment's first token stands among all
        self.longest = int((starts + lengths).max())
        self.rows = rows.repeat_interleave(lengths).to(device)
        self.columns = (torch.arange(len(self.rows)) + (starts - begin).repeat_interleave(lengths)).to(device)
        self.cut = int(lengths[:first].sum())
        self.roots = Rows(lengths[:first], device)
        self.branches = Rows(lengths[first:], device) if parents else None
        self.layers = [self.Layer(self)] * num_layers
        if self.branches is not None:
            self.parents = torch.tensor(parents, device=device)
            self.starts = starts[first:].to(device)
            self.visible = self._visible(self.branches)

    def _visible(self, branches: Rows) -> Tensor:
        """What tokens of branches see, [B, 1, T, S]: all of the segment they continue, and of their own up to them."""
        before = self.roots.real[self.parents]
        width = branches.real.shape[1]
        own = torch.ones(width, width, dtype=torch.bool, device=before.device).tril()
        rows = (before[:, None].expand(-1, width, -1), own.expand(len(before), -1, -1))
        return torch.cat(rows, dim=-1)[:, None]

    def seen(self, band: int | None) -> Bool[Tensor, "B 1 T S"]:
        """What tokens of branches look at, with a band or without."""
        assert self.branches is not None
        if band is None or self.longest <= band:
            return self.visible
        before = torch.arange(self.roots.real.shape[1], device=self.starts.device)
        queries = self.starts[:, None] + torch.arange(self.branches.real.shape[1], device=self.starts.device)
        keys = torch.cat([before.expand(len(queries), -1), queries], dim=1)
        return self.visible & in_sight(queries, keys, band)[:, None]

    def of(self, per_row: Shaped[Tensor, "B T"]) -> Shaped[Tensor, "1 N"]:
        """The tokens, from the rows that segments are cut from."""
        return per_row[self.rows, self.columns][None]

    def start(self, num_tokens: int) -> Int[Tensor, "1 N"]:
        """The positions of the tokens in their rows.

        Raises:
            ValueError: these are not all the tokens.
        """
        if num_tokens != len(self.columns):
            raise ValueError(f"{num_tokens} tokens where the segments have {len(self.columns)}")
        return self.columns[None]
