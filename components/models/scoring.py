"""What models say of given replies: log-probabilities, values, scores."""

from torch import Tensor

from components.data.sequences import SequenceBatch, gather_positions
from components.losses.sampling import Sampling, token_logprobs
from components.models.heads import ScalarGPT
from components.models.transformer import GPT


def response_logits(model: GPT, batch: SequenceBatch) -> Tensor:
    """Logits that predict each reply token, [B, R, V]; prompt positions never reach the head."""
    return model.logits(gather_positions(model(batch.input_ids), batch.predicting_positions))


def response_logprobs(model: GPT, batch: SequenceBatch, sampling: Sampling, kept: Tensor | None = None) -> Tensor:
    """Log-probability that the sampler draws each reply token, [B, R]; 0 where masked.

    `kept`, [B, R, V], is what the policy that sampled the replies could draw (`candidates`).
    """
    logprobs = token_logprobs(response_logits(model, batch), batch.response_ids, sampling, kept)
    return logprobs.masked_fill(~batch.response_mask, 0.0)


def response_values(model: ScalarGPT, batch: SequenceBatch) -> Tensor:
    """Predicted return before each reply token is chosen, [B, R]."""
    return gather_positions(model(batch.input_ids).float(), batch.predicting_positions)


def sequence_scores(model: ScalarGPT, batch: SequenceBatch) -> Tensor:
    """The reward of each row, [B], read at its last real token."""
    return model(batch.input_ids).float().gather(1, batch.last_positions[:, None])[:, 0]
