"""What attention remembers of tokens before: a cache for sampling, of a fixed number of rows."""

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from components.models.attention import attend, causal, in_sight

GROWTH = 256  # tokens: a row's room grows to a multiple of it, so that short requests pay for no long context


@runtime_checkable  # the tests look at what passes for one, as for a Memory
class LayerMemory(Protocol):
    """One block's share of a memory."""

    def attend(
        self, heads: Float[Tensor, "B T A E"], kv_heads: int, band: int | None = None
    ) -> Float[Tensor, "B T H E"]:
        """Attention of new tokens, given as `split_heads` takes them, to each other and to what the memory holds.

        With a band, to no more than so many tokens, the own included.
        """


@runtime_checkable
class Memory(Protocol):
    """What a forward pass knows of tokens before its own, and of which of them see each other."""

    longest: int  # tokens of the longest sequence, new ones included

    @property
    def layers(self) -> Sequence[LayerMemory]:
        """One for each block."""

    def start(self, num_tokens: int) -> Int[Tensor, "*B {num_tokens}"]:
        """Begin a forward pass over num_tokens new tokens; their positions, of each row where they differ."""


class KeyValueCache:
    """Keys and values of rows that come and go: the live rows are [0, used), and new ones join behind them.

    A forward pass is either over the prompts of rows that join (`admit` says which), or over the next token of every
    live row. Each row's tokens stand from position 0 without gaps, so what it computes is what a row alone computes.
    """

    class Layer:
        """One block's share; keys and values are allocated in the type they arrive in."""

        def __init__(self, owner: "KeyValueCache") -> None:
            self.owner = owner
            self.kept: Tensor | None = None  # [2, slots, G, room, E]: keys, then values

        def attend(
            self, heads: Float[Tensor, "B T A E"], kv_heads: int, band: int | None = None
        ) -> Float[Tensor, "B T H E"]:
            """Attention of new tokens, whose keys and values are kept. A prompt attends to itself alone."""
            owner, asking = self.owner, heads.shape[2] - 2 * kv_heads
            queries = heads[:, :, :asking].transpose(1, 2)
            new = heads[:, :, asking:].view(*heads.shape[:2], 2, kv_heads, heads.shape[3])
            kept = self.kept = self._with_room(new)
            if owner.joined:
                paired = new.permute(2, 0, 3, 1, 4)  # as they are kept
                joining = paired if owner.source is None else paired[:, owner.source]
                kept[:, owner.used - owner.joined : owner.used, :, : heads.shape[1]] = joining
                visible = causal(heads.shape[1], band, heads.device)
                return attend(queries, paired[0], paired[1], visible).transpose(1, 2)
            if owner.visible is None:  # all rows are as long
                kept[:, : owner.used, :, owner.longest - 1] = new[:, 0].transpose(0, 1)
            else:
                kept[:, owner.rows, :, owner.places] = new[:, 0]
            keys, values = kept[:, : owner.used, :, : owner.longest].unbind()
            return attend(queries, keys, values, owner.seen(band)).transpose(1, 2)

        def _with_room(self, new: Float[Tensor, "B T 2 G E"]) -> Float[Tensor, "2 slots G room E"]:
            """What is kept, in a tensor that has room for the longest row."""
            owner, kept = self.owner, self.kept
            room = 0 if kept is None else kept.shape[3]
            if kept is not None and room >= owner.longest:
                return kept
            wider = min(owner.capacity, -(-max(owner.longest, 2 * room) // GROWTH) * GROWTH)
            # Zeros: a place that no query may see still takes part in a product, where what lies there could be NaN.
            grown = new.new_zeros(2, owner.slots, new.shape[3], wider, new.shape[4])
            if kept is not None:
                grown[:, :, :, :room] = kept
            return grown

        def move(self, sources: Int[Tensor, "N"], targets: Int[Tensor, "N"], length: int) -> None:
            """Write the first places of some rows over those of others."""
            assert self.kept is not None
            self.kept[:, targets, :, :length] = self.kept[:, sources, :, :length]

    def __init__(self, *, slots: int, capacity: int, num_layers: int, device: torch.device) -> None:
        """`slots` rows of at most `capacity` tokens each."""
        self.layers = [self.Layer(self) for _ in range(num_layers)]
        self.slots, self.capacity, self.longest = slots, capacity, 0
        self.device = device
        self.lengths: list[int] = []  # of the live rows: known here without asking the device
        self.visible: Tensor | None = None
        self.joined = 0  # rows whose prompts are being read
        self.source: Tensor | None = None  # the prompt of each of them; None where each has its own, in their order
        self.rows = self.places = torch.zeros(0, dtype=torch.long, device=device)  # where a step writes
        self._due: list[int] = []

    @property
    def used(self) -> int:
        """Live rows, those included whose prompts are being read."""
        return len(self.lengths)

    def admit(self, lengths: Sequence[int], source: Sequence[int]) -> None:
        """Have the next forward pass be over N prompts of these lengths; new row b begins with prompt `source[b]`.

        Raises:
            ValueError: there are not so many free rows.
        """
        if self.used + len(source) > self.slots:
            raise ValueError(f"{len(source)} rows beside {self.used} exceed {self.slots} slots")
        self._due = [lengths[each] for each in source]
        own = list(source) == list(range(len(lengths)))
        self.source = None if own else torch.tensor(source, device=self.device)

    def start(self, num_tokens: int) -> Int[Tensor, "*B {num_tokens}"]:
        """Begin a forward pass; the positions of its tokens.

        Raises:
            ValueError: it is not over one token of each live row, nor over what was admitted; or a row is full.
        """
        joining, self._due = self._due, []
        due = max(joining, default=1)
        before = 0 if joining else max(self.lengths, default=self.capacity)
        if num_tokens != due or before + num_tokens > self.capacity:
            raise ValueError(f"{num_tokens} tokens where {due} are due, after {before} of {self.capacity}")
        self.longest = before + num_tokens
        self.joined = len(joining)
        if joining:
            self.lengths += joining
            return torch.arange(num_tokens, device=self.device)
        self.places = torch.tensor(self.lengths, device=self.device)
        self.lengths = [length + 1 for length in self.lengths]
        self.visible = None
        if min(self.lengths) < self.longest:
            self.rows = torch.arange(self.used, device=self.device)
            self.visible = self._sight(None)
        return self.places[:, None]

    def seen(self, band: int | None) -> Bool[Tensor, "B 1 1 S"] | None:
        """What the next token of each live row looks at; None: everything that is there."""
        return self.visible if band is None or self.longest <= band else self._sight(band)

    def _sight(self, band: int | None) -> Tensor:
        return in_sight(self.places[:, None], torch.arange(self.longest, device=self.device)[None], band)[:, None]

    def take(self, rows: Sequence[int]) -> None:
        """Have the live rows be copies of these of them, in this order; there may be more or fewer than before.

        Raises:
            ValueError: there are not so many slots.
        """
        if len(rows) > self.slots:
            raise ValueError(f"{len(rows)} rows exceed {self.slots} slots")
        self.lengths = [self.lengths[row] for row in rows]
        sources = torch.tensor(rows, dtype=torch.long, device=self.device)
        targets = torch.arange(len(rows), device=self.device)
        for layer in self.layers:
            layer.move(sources, targets, max(self.lengths, default=0))

    def drop(self, rows: Iterable[int]) -> list[int]:
        """End some rows: the last ones take their places. Which rows are left, in their new order."""
        order = list(range(self.used))
        for row in sorted(rows, reverse=True):
            order[row] = order[-1]
            order.pop()
        moved = [(source, target) for target, source in enumerate(order) if source != target]
        self.lengths = [self.lengths[row] for row in order]
        if moved:
            sources, targets = torch.tensor(moved, device=self.device).unbind(1)
            length = max(self.lengths[target] for _, target in moved)
            for layer in self.layers:
                layer.move(sources, targets, length)
        return order
