"""Ragged prompts and replies as right-padded batches."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True)
class SequenceBatch:
    """Rows of prompt, reply, padding.

    response_mask: True on reply tokens, aligned to the reply.
    prompt_numbers: equal where rows have the same prompt; None where that is not known.
    """

    input_ids: Int[Tensor, "B T"]
    prompt_lengths: Int[Tensor, "B"]
    response_mask: Bool[Tensor, "B R"]
    prompt_numbers: Int[Tensor, "B"] | None = None

    @property
    def last_positions(self) -> Int[Tensor, "B"]:
        """Position in input_ids of each row's last real token."""
        return self.prompt_lengths + self.response_mask.sum(dim=1) - 1

    @property
    def tokens(self) -> int:
        """How many real ones the rows hold."""
        return int(self.prompt_lengths.sum() + self.response_mask.sum())

    @property
    def predicting_positions(self) -> Int[Tensor, "B R"]:
        """Position in input_ids from which each reply token is predicted; clamped inside T where masked."""
        steps = torch.arange(self.response_mask.shape[1], device=self.input_ids.device)
        return (self.prompt_lengths[:, None] - 1 + steps).clamp(max=self.input_ids.shape[1] - 1)

    @property
    def response_ids(self) -> Int[Tensor, "B R"]:
        """The reply tokens; arbitrary where masked."""
        positions = (self.predicting_positions + 1).clamp(max=self.input_ids.shape[1] - 1)
        return self.input_ids.gather(1, positions)

    def rows(self, index: Int[Tensor, "N"]) -> "SequenceBatch":
        """Some rows, cut to their own longest sequence and reply."""
        mask = self.response_mask[index]
        lengths = self.prompt_lengths[index]
        width = int((lengths + mask.sum(dim=1)).max())
        numbers = None if self.prompt_numbers is None else self.prompt_numbers[index]
        return SequenceBatch(self.input_ids[index, :width], lengths, mask[:, : int(mask.sum(dim=1).max())], numbers)

    def to(self, device: torch.device) -> "SequenceBatch":
        """The batch on a device."""
        numbers = None if self.prompt_numbers is None else self.prompt_numbers.to(device)
        return SequenceBatch(
            self.input_ids.to(device), self.prompt_lengths.to(device), self.response_mask.to(device), numbers
        )


def pack(prompts: list[list[int]], replies: list[list[int]], *, pad_id: int) -> SequenceBatch:
    """Batch prompts with their replies, each given as ids.

    Raises:
        ValueError: a prompt or a reply is empty.
    """
    if not all(prompts) or not all(replies):
        raise ValueError("every row needs a prompt and a reply")
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    reply_lengths = torch.tensor([len(reply) for reply in replies])
    input_ids = torch.full((len(prompts), int((lengths + reply_lengths).max())), pad_id, dtype=torch.long)
    for row, (prompt, reply) in enumerate(zip(prompts, replies, strict=True)):
        input_ids[row, : len(prompt) + len(reply)] = torch.tensor(prompt + reply)
    mask = torch.arange(int(reply_lengths.max())) < reply_lengths[:, None]
    distinct = {prompt: number for number, prompt in enumerate(dict.fromkeys(map(tuple, prompts)))}
    return SequenceBatch(input_ids, lengths, mask, torch.tensor([distinct[tuple(prompt)] for prompt in prompts]))
