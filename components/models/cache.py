"""What attention remembers: a preallocated cache for sampling, and prompts that several replies continue."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@runtime_checkable  # the tests look at what passes for one, as for a Memory
class LayerMemory(Protocol):
    """One block's share of a memory."""

    def extend(
        self, keys: Float[Tensor, "B H T E"], values: Float[Tensor, "B H T E"]
    ) -> tuple[Float[Tensor, "B H S E"], Float[Tensor, "B H S E"], Bool[Tensor, "#B #H #T #S"] | None]:
        """Take the keys and values of new tokens; all that they attend to, and the mask.

        The mask is True where a token may look; None is causal.
        """


@runtime_checkable
class Memory(Protocol):
    """What a forward pass knows of tokens before its own."""

    @property
    def layers(self) -> Sequence[LayerMemory]:
        """One for each block."""

    def start(self, num_tokens: int) -> Int[Tensor, "*B {num_tokens}"]:
        """Begin a forward pass over num_tokens new tokens; their positions, of each row where they differ."""


class KeyValueCache:
    """Keys and values of prompts of given lengths and of the tokens sampled after them, one a step for all rows.

    A prompt stands at the beginning of its row, and the first sampled tokens behind the longest prompt, so that every
    step writes one slot for all rows; the slots between a short prompt and them are never visible.
    """

    class Layer:
        """One block's share; keys and values are allocated in the type they arrive in."""

        def __init__(self, owner: "KeyValueCache") -> None:
            self.owner = owner
            self.keys: Tensor | None = None
            self.values: Tensor | None = None

        def extend(
            self, keys: Float[Tensor, "B H T E"], values: Float[Tensor, "B H T E"]
        ) -> tuple[Float[Tensor, "B H S E"], Float[Tensor, "B H S E"], Bool[Tensor, "B 1 1 S"] | None]:
            """Write them behind what is there; return all of it and who may see what."""
            owner = self.owner
            if self.keys is None or self.values is None:
                shape = (*keys.shape[:2], owner.capacity, keys.shape[3])
                self.keys, self.values = keys.new_zeros(shape), values.new_zeros(shape)
            begin = owner.used - keys.shape[2]
            self.keys.narrow(2, begin, keys.shape[2]).copy_(keys)
            self.values.narrow(2, begin, keys.shape[2]).copy_(values)
            return self.keys.narrow(2, 0, owner.used), self.values.narrow(2, 0, owner.used), owner.visible()

    def __init__(self, lengths: Int[Tensor, "B"], *, new_tokens: int, num_layers: int) -> None:
        self.layers = [self.Layer(self) for _ in range(num_layers)]
        self.lengths = lengths
        self.longest = int(lengths.max())
        self.capacity = self.longest + new_tokens
        self.used = 0
        self._seen = self._slots_seen()

    def _slots_seen(self) -> Tensor | None:
        """Slots that a sampled token may see once they are written, [B, 1, 1, S]; None for all."""
        if bool((self.lengths == self.longest).all()):
            return None
        slots = torch.arange(self.capacity, device=self.lengths.device)
        return ((slots < self.lengths[:, None]) | (slots >= self.longest))[:, None, None]

    def start(self, num_tokens: int) -> Int[Tensor, "*B {num_tokens}"]:
        """Begin a forward pass over the prompts, or over the next token of every row; their positions.

        Raises:
            ValueError: the pass is neither, or the cache is full.
        """
        device, before = self.lengths.device, self.used
        if num_tokens != (1 if before else self.longest) or before + num_tokens > self.capacity:
            raise ValueError(f"{num_tokens} tokens after {before} in a cache of {self.capacity}")
        self.used = before + num_tokens
        if not before:
            return torch.arange(num_tokens, device=device)
        return self.lengths[:, None] + (before - self.longest)

    def visible(self) -> Bool[Tensor, "B 1 1 S"] | None:
        """Which slots the tokens of this pass may see; None is causal for prompts, and all for one token."""
        return None if self._seen is None or self.used == self.longest else self._seen[..., : self.used]

    def keep(self, rows: Int[Tensor, "N"] | Bool[Tensor, "B"]) -> None:
        """Go on with some rows alone, given as numbers, which may repeat, or as a mask."""
        self.lengths = self.lengths[rows]
        self._seen = self._slots_seen()
        for layer in self.layers:
            if layer.keys is not None and layer.values is not None:
                layer.keys, layer.values = layer.keys[rows], layer.values[rows]


class Prompts:
    """Keys and values of N prompts from one forward pass, as a part of the graph of gradients."""

    class Layer:
        """One block's share; what it is given is what it keeps."""

        keys: Float[Tensor, "N H P E"]
        values: Float[Tensor, "N H P E"]

        def extend(
            self, keys: Float[Tensor, "N H P E"], values: Float[Tensor, "N H P E"]
        ) -> tuple[Float[Tensor, "N H P E"], Float[Tensor, "N H P E"], None]:
            """Keep them; a prompt attends to itself alone."""
            self.keys, self.values = keys, values
            return keys, values, None

    def __init__(self, *, num_layers: int, device: torch.device) -> None:
        self.layers = [self.Layer() for _ in range(num_layers)]
        self.device = device

    def start(self, num_tokens: int) -> Int[Tensor, "{num_tokens}"]:
        """Positions from 0."""
        return torch.arange(num_tokens, device=self.device)


class Continuation:
    """The memory of a pass over replies: row b continues prompt `rows[b]`, whose length is `lengths[b]`."""

    class Layer:
        """One block's share: a reply attends to its prompt and to itself."""

        def __init__(self, owner: "Continuation", prompts: Prompts.Layer) -> None:
            self.owner, self.prompts = owner, prompts

        def extend(
            self, keys: Float[Tensor, "B H T E"], values: Float[Tensor, "B H T E"]
        ) -> tuple[Float[Tensor, "B H S E"], Float[Tensor, "B H S E"], Bool[Tensor, "B 1 T S"]]:
            """The prompts' before the replies'."""
            rows, longest = self.owner.rows, self.owner.longest
            before_keys, before_values = self.prompts.keys[rows, :, :longest], self.prompts.values[rows, :, :longest]
            return torch.cat([before_keys, keys], 2), torch.cat([before_values, values], 2), self.owner.visible

    def __init__(self, prompts: Prompts, rows: Int[Tensor, "B"], lengths: Int[Tensor, "B"]) -> None:
        self.rows, self.lengths = rows, lengths
        self.longest = int(lengths.max())
        self.layers = [self.Layer(self, layer) for layer in prompts.layers]

    def start(self, num_tokens: int) -> Int[Tensor, "B {num_tokens}"]:
        """Positions from each prompt's end."""
        device = self.lengths.device
        before = torch.arange(self.longest, device=device) < self.lengths[:, None]
        own = torch.ones(num_tokens, num_tokens, dtype=torch.bool, device=device).tril()
        self.visible = torch.cat(
            [before[:, None].expand(-1, num_tokens, -1), own.expand(len(before), -1, -1)], dim=-1
        )[:, None]  # fmt: skip
        return self.lengths[:, None] + torch.arange(num_tokens, device=device)
