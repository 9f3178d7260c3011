"""Keys and values of requests that come and go: a cache of a fixed number of rows."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

GROWTH = 64  # tokens: a row's room grows to a multiple of it, so that short requests pay for no long context


class SlotCache:
    """A `Memory` whose live rows are [0, used): rows join behind them, and a row that leaves is replaced by the last.

    A forward pass is either over the prompts of rows that join (`admit` says which), or over the next token of every
    live row. Each row's tokens stand from position 0 without gaps, so what it computes is what a row alone computes.
    """

    class Layer:
        """One block's share; keys and values are allocated in the type they arrive in."""

        def __init__(self, owner: "SlotCache") -> None:
            self.owner = owner
            self.keys: Tensor | None = None
            self.values: Tensor | None = None

        def extend(
            self, keys: Float[Tensor, "B H T E"], values: Float[Tensor, "B H T E"]
        ) -> tuple[Float[Tensor, "B H S E"], Float[Tensor, "B H S E"], Bool[Tensor, "B 1 1 S"] | None]:
            """Keep them; what the new tokens attend to, and who may see what. A prompt attends to itself alone."""
            owner = self.owner
            self.keys, self.values = self._with_room(self.keys, keys), self._with_room(self.values, values)
            if owner.source is not None:
                for kept, new in ((self.keys, keys), (self.values, values)):
                    kept[owner.used - len(owner.source) : owner.used, :, : new.shape[2]] = new[owner.source]
                return keys, values, None
            rows, places = torch.arange(owner.used, device=keys.device), owner.lengths[: owner.used] - 1
            self.keys[rows, :, places] = keys[:, :, 0]
            self.values[rows, :, places] = values[:, :, 0]
            longest = owner.longest
            return self.keys[: owner.used, :, :longest], self.values[: owner.used, :, :longest], owner.visible

        def _with_room(self, kept: Tensor | None, new: Tensor) -> Tensor:
            """What is kept, in a tensor that has room for the longest row."""
            owner, room = self.owner, 0 if kept is None else kept.shape[2]
            if kept is not None and room >= owner.longest:
                return kept
            wider = min(owner.capacity, -(-max(owner.longest, 2 * room) // GROWTH) * GROWTH)
            # Zeros: a place that no query may see still takes part in a product, where what lies there could be NaN.
            grown = new.new_zeros(owner.slots, new.shape[1], wider, new.shape[3])
            if kept is not None:
                grown[:, :, :room] = kept
            return grown

        def move(self, source: int, target: int, length: int) -> None:
            """Write the first places of a row over those of another."""
            assert self.keys is not None and self.values is not None
            for kept in (self.keys, self.values):
                kept[target, :, :length] = kept[source, :, :length]

    def __init__(self, *, slots: int, capacity: int, num_layers: int, device: torch.device) -> None:
        """`slots` rows of at most `capacity` tokens each."""
        self.layers = [self.Layer(self) for _ in range(num_layers)]
        self.slots, self.capacity, self.used, self.longest = slots, capacity, 0, 0
        self.lengths = torch.zeros(slots, dtype=torch.long, device=device)
        self.visible: Tensor | None = None
        self.source: Tensor | None = None  # while prompts are read: the prompt of each row that joins
        self._prompts: Tensor | None = None

    def admit(self, lengths: Int[Tensor, "N"], source: Int[Tensor, "B"]) -> None:
        """Have the next forward pass be over N prompts of these lengths; new row b begins with prompt `source[b]`.

        Raises:
            ValueError: there are not so many free rows.
        """
        if self.used + len(source) > self.slots:
            raise ValueError(f"{len(source)} rows beside {self.used} exceed {self.slots} slots")
        self._prompts, self.source = lengths, source

    def start(self, num_tokens: int) -> Int[Tensor, "*B {num_tokens}"]:
        """Begin a forward pass; the positions of its tokens.

        Raises:
            ValueError: it is not over one token of each live row, nor over what was admitted; or a row is full.
        """
        prompts, self._prompts = self._prompts, None
        due = 1 if prompts is None else int(prompts.max())
        before = 0 if prompts is not None else max(self.lengths[: self.used].tolist(), default=self.capacity)
        if num_tokens != due or before + num_tokens > self.capacity:
            raise ValueError(f"{num_tokens} tokens where {due} are due, after {before} of {self.capacity}")
        self.longest = before + num_tokens
        if prompts is not None:
            assert self.source is not None
            first, self.used = self.used, self.used + len(self.source)
            self.lengths[first : self.used] = prompts[self.source]
            return torch.arange(num_tokens, device=self.lengths.device)
        self.source = None
        positions = self.lengths[: self.used, None].clone()
        self.lengths[: self.used] += 1
        self.visible = self._visible()
        return positions

    def _visible(self) -> Tensor | None:
        """Which places each row's next token may see, [B, 1, 1, S]; None where all rows are as long as the longest."""
        lengths = self.lengths[: self.used]
        if bool((lengths == self.longest).all()):
            return None
        return (torch.arange(self.longest, device=lengths.device) < lengths[:, None])[:, None, None]

    def drop(self, row: int) -> None:
        """End a row: the last one takes its place."""
        last = self.used - 1
        if row != last:
            length = int(self.lengths[last])
            for layer in self.layers:
                layer.move(last, row, length)
            self.lengths[row] = length
        self.used = last
