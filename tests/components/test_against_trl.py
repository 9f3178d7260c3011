"""Quantities that TRL 1.9.0 computes too, on the same tensors."""

import pytest
import torch

from components.losses.masking import masked_mean, whiten
from components.losses.sampling import Sampling, token_entropy, token_logprobs

ppo_trainer = pytest.importorskip("trl.experimental.ppo.ppo_trainer")
utils = pytest.importorskip("trl.trainer.utils")


@pytest.fixture
def tensors():
    torch.manual_seed(0)
    return torch.randn(6, 9) * 2 + 3, torch.rand(6, 9) > 0.3


def test_masked_means_agree(tensors):
    values, mask = tensors
    torch.testing.assert_close(masked_mean(values, mask), ppo_trainer.masked_mean(values, mask))


@pytest.mark.parametrize("shift_mean", [True, False])
def test_whitening_agrees_up_to_bessels_correction(tensors, shift_mean):
    """TRL divides the variance by n - 1, the paper's code by n, as here; TRL whitens the padding too."""
    values, mask = tensors
    count = int(mask.sum())
    mean = 0.0 if shift_mean else masked_mean(values, mask)
    theirs = ppo_trainer.masked_whiten(values, mask, shift_mean=shift_mean)
    ours = (whiten(values, mask, shift_mean=shift_mean) - mean) * ((count - 1) / count) ** 0.5 + mean
    torch.testing.assert_close(ours[mask], theirs[mask], atol=1e-5, rtol=1e-5)


def test_logprobs_and_entropy_agree():
    torch.manual_seed(0)
    logits, ids = torch.randn(3, 5, 31) * 3, torch.randint(0, 31, (3, 5))
    torch.testing.assert_close(token_logprobs(logits, ids, Sampling()), utils.selective_log_softmax(logits, ids))
    torch.testing.assert_close(token_entropy(logits.log_softmax(-1)), utils.entropy_from_logits(logits))
    cooled = utils.selective_log_softmax(logits / 0.7, ids)
    torch.testing.assert_close(token_logprobs(logits, ids, Sampling(0.7)), cooled, atol=1e-5, rtol=1e-5)
