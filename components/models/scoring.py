"""What models say of given replies: log-probabilities, values, scores.

Rows of like length go through a model together: in a batch of 64 ragged rows more than half of the positions would be
padding. Every function is the same whatever the grouping.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from components.data.sequences import SequenceBatch, gather_positions
from components.losses.sampling import Sampling, token_logprobs
from components.models.heads import ScalarGPT
from components.models.transformer import GPT

GROUP_ROWS = {"cpu": 16}  # elsewhere starting a kernel costs more than the padding
GROUP_ROWS_ELSEWHERE = 128


def length_groups(batch: SequenceBatch) -> list[Tensor]:
    """Row numbers of a batch in groups of like length, shortest first."""
    lengths = batch.prompt_lengths + batch.response_mask.sum(dim=1)
    size = GROUP_ROWS.get(batch.input_ids.device.type, GROUP_ROWS_ELSEWHERE)
    return list(torch.split(lengths.argsort(stable=True), size))


def by_groups(batch: SequenceBatch, evaluate: Callable[[SequenceBatch, Tensor], Tensor]) -> Tensor:
    """Values of each row, [B] or [B, R], from a function of a group's rows and their numbers; 0 where a row ends."""
    groups = length_groups(batch)
    parts = []
    for rows in groups:
        values = evaluate(batch.rows(rows), rows)
        missing = batch.response_mask.shape[1] - values.shape[-1]
        parts.append(torch.nn.functional.pad(values, (0, missing)) if values.ndim == 2 else values)
    return torch.cat(parts)[torch.cat(groups).argsort()]


def response_logits(model: GPT, batch: SequenceBatch) -> Tensor:
    """Logits that predict each reply token, [B, R, V]; prompt positions never reach the head."""
    return model.logits(gather_positions(model(batch.input_ids), batch.predicting_positions))


def response_logprobs(model: GPT, batch: SequenceBatch, sampling: Sampling, kept: Tensor | None = None) -> Tensor:
    """Log-probability that the sampler draws each reply token, [B, R]; 0 where masked.

    `kept`, [B, R, V], is what the policy that sampled the replies could draw (`candidates`).
    """

    def evaluate(group: SequenceBatch, rows: Tensor) -> Tensor:
        cut = None if kept is None else kept[rows, : group.response_mask.shape[1]]
        logprobs = token_logprobs(response_logits(model, group), group.response_ids, sampling, cut)
        return logprobs.masked_fill(~group.response_mask, 0.0)

    return by_groups(batch, evaluate)


def response_values(model: ScalarGPT, batch: SequenceBatch) -> Tensor:
    """Predicted return before each reply token is chosen, [B, R]; 0 where masked."""

    def evaluate(group: SequenceBatch, _: Tensor) -> Tensor:
        values = gather_positions(model(group.input_ids).float(), group.predicting_positions)
        return values.masked_fill(~group.response_mask, 0.0)

    return by_groups(batch, evaluate)


def sequence_scores(model: ScalarGPT, batch: SequenceBatch) -> Tensor:
    """The reward of each row, [B], read at its last real token."""

    def evaluate(group: SequenceBatch, _: Tensor) -> Tensor:
        return model(group.input_ids).float().gather(1, group.last_positions[:, None])[:, 0]

    return by_groups(batch, evaluate)
