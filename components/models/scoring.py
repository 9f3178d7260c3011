"""What models say of given replies: log-probabilities, values, scores.

Rows go through a model without padding, and the prompt that several of them have once (`components.models.packed`), as
many together as make a pass worth its overhead. Every function is the same whatever the grouping.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from components.data.sequences import SequenceBatch
from components.losses.cross_entropy import target_losses
from components.losses.sampling import Sampling, token_logprobs
from components.models.heads import ScalarGPT
from components.models.packed import Packed, Segment, in_groups
from components.models.transformer import GPT


@dataclass(frozen=True)
class ReplyStates:
    """Hidden states of some rows of a batch, N with M reply tokens in all.

    rows: their numbers. places: where each reply token stands among the batch's B x R. ids: the reply tokens.
    predicting: the states that predict them. last: the state at each row's last token.
    """

    rows: Int[Tensor, "N"]
    places: Int[Tensor, "M"]
    ids: Int[Tensor, "M"]
    predicting: Float[Tensor, "M D"]
    last: Float[Tensor, "N D"]


def reply_states(body: GPT, batch: SequenceBatch) -> Iterator[ReplyStates]:
    """Hidden states of a batch's replies, some rows at a time: those of like length and all of one prompt together."""
    prompts, replies = batch.prompt_lengths.tolist(), batch.response_mask.sum(dim=1).tolist()
    numbers = range(len(prompts)) if batch.prompt_numbers is None else batch.prompt_numbers.tolist()
    sharing: dict[int, list[int]] = {}  # rows by their prompt
    for row, number in enumerate(numbers):
        sharing.setdefault(number, []).append(row)
    families = sorted(sharing.values(), key=lambda rows: prompts[rows[0]] + max(replies[row] for row in rows))
    sizes = [prompts[rows[0]] + sum(replies[row] for row in rows) for rows in families]
    for group in in_groups(range(len(families)), sizes, batch.input_ids.device):
        yield _states(body, batch, [families[number] for number in group], prompts, replies)


def _states(
    body: GPT, batch: SequenceBatch, families: list[list[int]], prompts: list[int], replies: list[int]
) -> ReplyStates:
    """One pass over the rows of some prompts."""
    segments, standing = _arranged(families, prompts, replies)
    device = batch.input_ids.device
    packed = Packed(segments, num_layers=body.config.num_layers, device=device)
    hidden = body(packed.of(batch.input_ids), packed)[0]
    rows = torch.tensor([row for row, _, _ in standing])
    own_prompts, lengths = torch.tensor(prompts)[rows], torch.tensor(replies)[rows]
    read = torch.tensor(packed.begins)[[root for _, root, _ in standing]] + own_prompts  # where prompts are over
    begin = torch.tensor([-1 if branch is None else packed.begins[branch] for _, _, branch in standing])
    begin = torch.where(begin < 0, read, begin)  # where replies begin
    steps = torch.arange(int(lengths.sum())) - (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
    before = torch.where(
        steps == 0, read.repeat_interleave(lengths), begin.repeat_interleave(lengths) + steps
    ) - 1  # fmt: skip
    numbers = rows.repeat_interleave(lengths)
    return ReplyStates(
        rows=rows.to(device),
        places=(numbers * batch.response_mask.shape[1] + steps).to(device),
        ids=batch.input_ids[numbers.to(device), (own_prompts.repeat_interleave(lengths) + steps).to(device)],
        predicting=hidden[before.to(device)],
        last=hidden[(begin + lengths - 1).to(device)],
    )


def _arranged(
    families: list[list[int]], prompts: list[int], replies: list[int]
) -> tuple[list[Segment], list[tuple[int, int, int | None]]]:
    """Segments; and of each row its number, the segment of its prompt, and that of its reply if it is another.

    A prompt that several rows have is a segment of its own, and each reply continues it.
    """
    roots: list[Segment] = []
    branches: list[Segment] = []
    standing: list[tuple[int, int, int | None]] = []
    for root, family in enumerate(families):
        apart, first = len(family) > 1, family[0]
        roots.append(Segment(first, 0, prompts[first] + (0 if apart else replies[first])))
        for row in family:
            branch = None
            if apart and replies[row]:
                branch = len(families) + len(branches)
                branches.append(Segment(row, prompts[row], replies[row], root))
            standing.append((row, root, branch))
    return roots + branches, standing


def by_token(
    body: GPT, batch: SequenceBatch, evaluate: Callable[[ReplyStates], Float[Tensor, "M *rest"]]
) -> Float[Tensor, "B R *rest"]:
    """What a function finds of each reply token; 0 where masked."""
    parts = [(part.places, evaluate(part)) for part in reply_states(body, batch)]
    places, values = (torch.cat(each) for each in zip(*parts, strict=True))
    spread = values.new_zeros(batch.response_mask.numel(), *values.shape[1:]).index_copy(0, places, values)
    return spread.view(*batch.response_mask.shape, *values.shape[1:])


def response_logits(model: GPT, batch: SequenceBatch) -> Float[Tensor, "B R V"]:
    """Logits that predict each reply token; 0 where masked."""
    return by_token(model, batch, lambda part: model.logits(part.predicting))


def response_logprobs(
    model: GPT, batch: SequenceBatch, sampling: Sampling, kept: Bool[Tensor, "B R V"] | None = None
) -> Float[Tensor, "B R"]:
    """Log-probability that the sampler draws each reply token; 0 where masked.

    `kept` is what the policy that sampled the replies could draw (`candidates`).
    """

    def evaluate(part: ReplyStates) -> Tensor:
        if kept is not None:
            own = kept.flatten(0, 1)[part.places]
            return token_logprobs(model.logits(part.predicting), part.ids, sampling, own)
        temperature, cap = 1.0 if sampling.greedy else sampling.temperature, model.config.logit_cap
        return -target_losses(part.predicting, model.head, part.ids, cap=cap, temperature=temperature)

    return by_token(model, batch, evaluate)


def response_values(model: ScalarGPT, batch: SequenceBatch) -> Float[Tensor, "B R"]:
    """Predicted return before each reply token is chosen; 0 where masked."""
    return by_token(model.body, batch, lambda part: model.read(part.predicting).float())


def sequence_scores(model: ScalarGPT, batch: SequenceBatch) -> Float[Tensor, "B"]:
    """The reward of each row, read at its last real token."""
    parts = [(part.rows, model.read(part.last).float()) for part in reply_states(model.body, batch)]
    rows, scores = (torch.cat(each) for each in zip(*parts, strict=True))
    return scores[rows.argsort()]
