"""What models say of given replies: log-probabilities, values, scores.

Rows of like length go through a model together: in a batch of 64 ragged rows more than half of the positions would be
padding. A prompt that several rows have goes through once, and their replies continue it. Every function is the same
whatever the grouping.
"""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from components.data.sequences import SequenceBatch, gather_positions, length_groups
from components.losses.cross_entropy import target_losses
from components.losses.sampling import Sampling, token_logprobs
from components.models.cache import Continuation, Prompts
from components.models.heads import ScalarGPT
from components.models.transformer import GPT

GROUP_ROWS = {"cpu": 16}  # elsewhere starting a kernel costs more than the padding
GROUP_ROWS_ELSEWHERE = 128


def groups_of(batch: SequenceBatch) -> list[Int[Tensor, "_"]]:
    """Row numbers of a batch in groups of like length, shortest first."""
    return _grouped(batch.prompt_lengths + batch.response_mask.sum(dim=1))


def _grouped(lengths: Tensor) -> list[Tensor]:
    return length_groups(lengths, GROUP_ROWS.get(lengths.device.type, GROUP_ROWS_ELSEWHERE))


def reply_states(body: GPT, batch: SequenceBatch) -> Float[Tensor, "B {batch.response_mask.shape[1]}+1 D"]:
    """Hidden states at the prompt's last token and at each reply token; arbitrary where masked.

    The first R predict the reply's tokens.
    """
    steps = torch.arange(batch.response_mask.shape[1] + 1, device=batch.input_ids.device)
    positions = (batch.prompt_lengths[:, None] - 1 + steps).clamp(max=batch.input_ids.shape[1] - 1)
    return gather_positions(body(batch.input_ids), positions)


def grouped_states(
    body: GPT, batch: SequenceBatch
) -> Iterator[tuple[Int[Tensor, "N"], SequenceBatch, Float[Tensor, "N _ D"]]]:
    """Row numbers, rows and `reply_states` of every group of a batch; repeated prompts go through the model once."""
    if batch.prompt_numbers is None:
        for rows in groups_of(batch):
            group = batch.rows(rows)
            yield rows, group, reply_states(body, group)
        return
    distinct, place = torch.unique(batch.prompt_numbers, return_inverse=True)
    first = torch.zeros_like(distinct).scatter_reduce(
        0, place, torch.arange(len(place), device=place.device), "amin", include_self=False
    )
    prompts = Prompts(num_layers=len(body.blocks), device=batch.input_ids.device)
    hidden = body(batch.input_ids[first, : int(batch.prompt_lengths.max())], prompts)
    last = hidden[place, batch.prompt_lengths - 1]
    for rows in _grouped(batch.response_mask.sum(dim=1)):
        group = batch.rows(rows)
        memory = Continuation(prompts, place[rows], group.prompt_lengths)
        replies = body(group.response_ids.masked_fill(~group.response_mask, 0), memory)
        yield rows, group, torch.cat([last[rows, None], replies], dim=1)


def by_groups(
    body: GPT,
    batch: SequenceBatch,
    evaluate: Callable[[SequenceBatch, Int[Tensor, "N"], Float[Tensor, "N _ D"]], Float[Tensor, "N *_"]],
) -> Float[Tensor, "B *R"]:
    """Values of each row, or of its reply tokens, from a function of a group's rows, their numbers and their states.

    0 where a row ends.
    """
    parts, numbers = [], []
    for rows, group, states in grouped_states(body, batch):
        values = evaluate(group, rows, states)
        missing = batch.response_mask.shape[1] - values.shape[-1]
        parts.append(torch.nn.functional.pad(values, (0, missing)) if values.ndim == 2 else values)
        numbers.append(rows)
    return torch.cat(parts)[torch.cat(numbers).argsort()]


def response_logits(model: GPT, batch: SequenceBatch) -> Float[Tensor, "B R V"]:
    """Logits that predict each reply token; prompt positions never reach the head."""
    return model.logits(reply_states(model, batch)[:, :-1])


def response_logprobs(
    model: GPT, batch: SequenceBatch, sampling: Sampling, kept: Bool[Tensor, "B R V"] | None = None
) -> Float[Tensor, "B R"]:
    """Log-probability that the sampler draws each reply token; 0 where masked.

    `kept` is what the policy that sampled the replies could draw (`candidates`).
    """

    def evaluate(group: SequenceBatch, rows: Tensor, states: Tensor) -> Tensor:
        ids, predicting = group.response_ids, states[:, :-1]
        if kept is None:
            logprobs = -target_losses(
                predicting.flatten(0, 1), model.head, ids.flatten(),
                cap=model.config.logit_cap, temperature=1.0 if sampling.greedy else sampling.temperature,
            ).view_as(ids)  # fmt: skip
        else:
            logprobs = token_logprobs(model.logits(predicting), ids, sampling, kept[rows, : ids.shape[1]])
        return logprobs.masked_fill(~group.response_mask, 0.0)

    return by_groups(model, batch, evaluate)


def response_values(model: ScalarGPT, batch: SequenceBatch) -> Float[Tensor, "B R"]:
    """Predicted return before each reply token is chosen; 0 where masked."""

    def evaluate(group: SequenceBatch, _: Tensor, states: Tensor) -> Tensor:
        return model.read(states[:, :-1]).float().masked_fill(~group.response_mask, 0.0)

    return by_groups(model.body, batch, evaluate)


def sequence_scores(model: ScalarGPT, batch: SequenceBatch) -> Float[Tensor, "B"]:
    """The reward of each row, read at its last real token."""

    def evaluate(group: SequenceBatch, _: Tensor, states: Tensor) -> Tensor:
        last = group.response_mask.sum(dim=1)
        return model.read(states[torch.arange(len(last), device=last.device), last]).float()

    return by_groups(model.body, batch, evaluate)
