"""What attention remembers: a preallocated cache for sampling, and prompts that several replies continue."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class LayerMemory(Protocol):
    """One block's share of a memory."""

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Take the keys and values of new tokens, [B, H, T, K]; all that they attend to, [B, H, S, K], and the mask.

        The mask, broadcastable to [B, H, T, S], is True where a token may look; None is causal.
        """


class Memory(Protocol):
    """What a forward pass knows of tokens before its own."""

    @property
    def layers(self) -> Sequence[LayerMemory]:
        """One for each block."""

    def start(self, num_tokens: int) -> Tensor:
        """Begin a forward pass over num_tokens new tokens; their positions, [T] or [B, T]."""


class KeyValueCache:
    """Keys and values of the tokens each row has seen, written in place at the row's own position.

    Rows are contiguous from position 0 (prompt, then response), so a ragged batch needs no left padding:
    the slots that a short prompt's padding filled are overwritten by its response before they become visible.
    """

    class Layer:
        """One block's share of the cache; keys and values are [B, H, S, K], allocated in the type they arrive in."""

        def __init__(self, owner: "KeyValueCache") -> None:
            self.owner = owner
            self.keys: Tensor | None = None
            self.values: Tensor | None = None

        def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            """Write [B, H, T, K] at the rows' positions; return the used part and who may see what, [B, 1, T, S]."""
            owner = self.owner
            if self.keys is None or self.values is None:
                shape = (*keys.shape[:2], owner.capacity, keys.shape[3])
                self.keys, self.values = keys.new_zeros(shape), values.new_zeros(shape)
            self.keys[owner.rows, :, owner.positions] = keys.transpose(1, 2)
            self.values[owner.rows, :, owner.positions] = values.transpose(1, 2)
            used = owner.visible.shape[-1]
            return self.keys[:, :, :used], self.values[:, :, :used], owner.visible

    def __init__(self, *, batch: int, capacity: int, num_layers: int, device: torch.device) -> None:
        self.layers = [self.Layer(self) for _ in range(num_layers)]
        self.lengths = torch.zeros(batch, dtype=torch.long, device=device)
        self.rows = torch.arange(batch, device=device)[:, None]
        self.capacity = capacity
        self._longest = 0  # upper bound of `lengths`, kept on the host so that no step waits for a device read

    def start(self, num_tokens: int) -> Tensor:
        """Begin a forward pass over num_tokens new tokens; their positions, [B, T].

        Raises:
            ValueError: the cache is too small for them.
        """
        used = self._longest + num_tokens
        if used > self.capacity:
            raise ValueError(f"{used} tokens exceed the cache of {self.capacity}")
        self.positions = self.lengths[:, None] + torch.arange(num_tokens, device=self.lengths.device)
        slots = torch.arange(used, device=self.lengths.device)
        self.visible = (slots <= self.positions[:, :, None])[:, None]
        return self.positions

    def advance(self, counts: Tensor, longest: int) -> None:
        """Keep `counts`, [B], of the tokens just written; `longest` bounds the new lengths."""
        self.lengths = self.lengths + counts
        self._longest = longest

    def keep(self, rows: Tensor) -> None:
        """Go on with some rows alone, given as numbers, which may repeat, or as a mask, [B]."""
        self.lengths = self.lengths[rows]
        self.rows = torch.arange(len(self.lengths), device=self.rows.device)[:, None]
        for layer in self.layers:
            if layer.keys is not None and layer.values is not None:
                layer.keys, layer.values = layer.keys[rows], layer.values[rows]


class Prompts:
    """Keys and values of P prompts from one forward pass, [P, H, T, K] a block, as a part of the graph of gradients."""

    class Layer:
        """One block's share; what it is given is what it keeps."""

        keys: Tensor
        values: Tensor

        def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, None]:
            """Keep them; a prompt attends to itself alone."""
            self.keys, self.values = keys, values
            return keys, values, None

    def __init__(self, *, num_layers: int, device: torch.device) -> None:
        self.layers = [self.Layer() for _ in range(num_layers)]
        self.device = device

    def start(self, num_tokens: int) -> Tensor:
        """Positions from 0."""
        return torch.arange(num_tokens, device=self.device)


class Continuation:
    """The memory of a pass over replies: row b continues prompt `rows[b]`, whose length is `lengths[b]`; [B] each."""

    class Layer:
        """One block's share: a reply attends to its prompt and to itself."""

        def __init__(self, owner: "Continuation", prompts: Prompts.Layer) -> None:
            self.owner, self.prompts = owner, prompts

        def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            """The prompts' before the replies'."""
            rows, longest = self.owner.rows, self.owner.longest
            before_keys, before_values = self.prompts.keys[rows, :, :longest], self.prompts.values[rows, :, :longest]
            return torch.cat([before_keys, keys], 2), torch.cat([before_values, values], 2), self.owner.visible

    def __init__(self, prompts: Prompts, rows: Tensor, lengths: Tensor) -> None:
        self.rows, self.lengths = rows, lengths
        self.longest = int(lengths.max())
        self.layers = [self.Layer(self, layer) for layer in prompts.layers]

    def start(self, num_tokens: int) -> Tensor:
        """Positions from each prompt's end, [B, T]."""
        device = self.lengths.device
        before = torch.arange(self.longest, device=device) < self.lengths[:, None]
        own = torch.ones(num_tokens, num_tokens, dtype=torch.bool, device=device).tril()
        self.visible = torch.cat(
            [before[:, None].expand(-1, num_tokens, -1), own.expand(len(before), -1, -1)], dim=-1
        )[:, None]  # fmt: skip
        return self.lengths[:, None] + torch.arange(num_tokens, device=device)
