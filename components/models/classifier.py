"""A language model with a linear map from the state at the extract token to scores of classes (GPT, equation 3)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from components.models.config import GPTConfig
from components.models.packed import Packed, Segment, in_groups
from components.models.transformer import GPT


@dataclass(frozen=True)
class Verdict:
    """What a classifier tells of some items.

    scores: of each class, or of each choice, -inf where an item has fewer choices than another. hidden, targets: the
    states of all sequences that predict a next token, the M tokens themselves, and which of N sequences each is of.
    """

    scores: Float[Tensor, "B C"]
    hidden: Float[Tensor, "M D"]
    targets: Int[Tensor, "M"]
    owners: Int[Tensor, "M"]


class ClassifierGPT(nn.Module):
    """GPT body and a linear map to the scores of `classes`; with no classes to one score, of a choice."""

    def __init__(self, config: GPTConfig, classes: Sequence[str] = (), transformation: str = "") -> None:
        """`transformation`: how texts become the sequences that it reads (components/evaluation/transformations.py)."""
        super().__init__()
        self.config, self.classes, self.transformation = config, tuple(classes), transformation
        self.body = GPT(config)
        self.head = self._new_head()

    @classmethod
    def on(cls, body: GPT, classes: Sequence[str], transformation: str = "") -> "ClassifierGPT":
        """A new head on a body, which is used as it is, not copied."""
        with torch.device("meta"):  # a body of its own would only be thrown away
            model = cls(body.config, classes, transformation)
        model.body, model.head = body, model._new_head()
        return model

    def _new_head(self) -> nn.Linear:
        head = nn.Linear(self.config.width, len(self.classes) or 1)
        nn.init.normal_(head.weight, std=0.02)
        nn.init.zeros_(head.bias)
        return head

    def forward(self, items: Sequence[Sequence[list[int]]]) -> Verdict:
        """Read the sequences of some items, each given as ids; those of like length go through together."""
        sequences = [ids for item in items for ids in item]
        lengths, device = [len(ids) for ids in sequences], self.head.weight.device
        rows = torch.zeros(len(sequences), max(lengths), dtype=torch.long)
        for row, ids in enumerate(sequences):
            rows[row, : len(ids)] = torch.tensor(ids)
        rows = rows.to(device)
        parts: list[tuple[Tensor, ...]] = []
        for group in in_groups(sorted(range(len(rows)), key=lambda row: lengths[row]), lengths, device):
            packed = Packed(
                [Segment(row, 0, lengths[row]) for row in group], num_layers=self.config.num_layers, device=device
            )
            tokens = packed.of(rows)
            hidden = self.body(tokens, packed)[0]
            last = torch.tensor([packed.begins[place] + lengths[row] - 1 for place, row in enumerate(group)])
            predicting = torch.ones(len(hidden), dtype=torch.bool)
            predicting[last] = False
            before = predicting.nonzero()[:, 0].to(device)
            parts.append((torch.tensor(group), hidden[last.to(device)], hidden[before], tokens[0, before + 1],
                          packed.rows[before]))  # fmt: skip
        order, extracted, hidden, targets, owners = (torch.cat(each) for each in zip(*parts, strict=True))
        return Verdict(self._scores(items, extracted[order.argsort().to(device)]), hidden, targets, owners)

    def _scores(self, items: Sequence[Sequence[list[int]]], extracted: Float[Tensor, "N D"]) -> Float[Tensor, "B C"]:
        """Of the states at the extract tokens, those of an item being next to each other."""
        counts = [len(item) for item in items]
        owners = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)).to(extracted.device)
        with torch.autocast(extracted.device.type, enabled=False):
            states = extracted.to(self.head.weight.dtype)
            if self.classes:  # GPT adds the states of both orders before the map
                return self.head(states.new_zeros(len(counts), states.shape[1]).index_add(0, owners, states))
            place = torch.cat([torch.arange(count) for count in counts]).to(extracted.device)
            scores = states.new_full((len(counts), max(counts)), -torch.inf)
            return scores.index_put((owners, place), self.head(states)[:, 0])
