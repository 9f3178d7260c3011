"""Losses against numbers worked out by hand, float64 loops and properties."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from components.losses.advantages import generalized_advantages, shaped_rewards
from components.losses.language_modelling import bits_per_byte, next_token_loss, token_entropy, token_logprobs
from components.losses.masking import last_index, masked_mean, whiten
from components.losses.ppo import clipped_policy_loss, clipped_value_loss, kl_k1, kl_k3
from components.losses.preference import ranking_loss


def t(*values):
    return torch.tensor(values)


ALL = torch.ones(1, 4, dtype=torch.bool)


def test_ranking_loss_of_four_replies_matches_the_hand_computed_value():
    result = ranking_loss(t([2.0, 1.0, 0.0, -1.0]), t([1, 2, 3, 4]))
    assert result.loss.item() == pytest.approx(0.2070380727, abs=1e-7)
    assert (int(result.correct), int(result.pairs)) == (6, 6)


def test_ranking_loss_equals_brute_force_pairs_in_value_and_gradient():
    torch.manual_seed(0)
    scores = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    ranks = t([1, 2, 2, 4, 5], [5, 3, 1, 2, 4], [1, 1, 0, 0, 3])
    (gradient,) = torch.autograd.grad(ranking_loss(scores, ranks).loss, scores)
    losses = []
    for row in range(3):
        pairs = [
            -F.logsigmoid(scores[row, i] - scores[row, j])
            for i in range(5)
            for j in range(5)
            if 0 < ranks[row, i] < ranks[row, j]
        ]
        losses.append(sum(pairs) / len(pairs))
    expected = sum(losses) / 3
    (expected_gradient,) = torch.autograd.grad(expected, scores)
    torch.testing.assert_close(ranking_loss(scores, ranks).loss, expected)
    torch.testing.assert_close(gradient, expected_gradient)


def test_ranking_loss_ignores_prompts_whose_replies_all_tie():
    both = ranking_loss(t([1.0, 0.0], [3.0, -3.0]), t([1, 2], [1, 1]))
    assert both.loss.item() == pytest.approx(math.log(1 + math.exp(-1)))
    assert ranking_loss(t([1.0, 0.0]), t([1, 1])).loss.item() == 0


def test_clipped_policy_loss_has_the_four_cases_of_the_paper():
    ratio, advantages = t([1.5, 0.5, 1.5, 0.5]), t([1.0, 1.0, -1.0, -1.0])
    result = clipped_policy_loss(ratio.log(), torch.zeros(1, 4), advantages, ALL, clip_ratio=0.2)
    assert result.loss.item() == pytest.approx(-(1.2 + 0.5 - 1.5 - 0.8) / 4)
    assert result.clip_fraction.item() == 0.5


def test_policy_loss_and_its_figures_do_not_see_padding():
    logprobs, old, advantages = t([-1.0, -2.0]), t([-1.2, -1.9]), t([1.0, -0.5])
    plain = clipped_policy_loss(logprobs, old, advantages, ALL[:, :2], clip_ratio=0.2)
    mask = t([True, True, False])
    padded = clipped_policy_loss(
        t([-1.0, -2.0, 99.0]), t([-1.2, -1.9, -7.0]), t([1.0, -0.5, 50.0]), mask, clip_ratio=0.2
    )
    torch.testing.assert_close(plain, padded)


def test_value_loss_takes_the_worse_of_clipped_and_plain():
    # old 0, return 1: a jump to 0.9 is clipped to 0.2, whose error 0.64 is worse than 0.01; 2.0 is clipped to 0.2,
    # but its own error, 1.0, is worse.
    result = clipped_value_loss(t([0.9, 2.0]), t([0.0, 0.0]), t([1.0, 1.0]), ALL[:, :2], value_clip=0.2)
    assert result.loss.item() == pytest.approx(0.5 * (0.64 + 1.0) / 2)
    assert result.clip_fraction.item() == 0.5


def test_generalized_advantages_match_the_hand_computed_values():
    rewards, values = t([0.0, 0.0, 1.0]), t([0.5, 0.4, 0.3])
    result = generalized_advantages(rewards, values, ALL[:, :3], discount=1.0, gae_lambda=0.95)
    torch.testing.assert_close(result.advantages, t([0.43675, 0.565, 0.7]))
    torch.testing.assert_close(result.returns, t([0.93675, 0.965, 1.0]))


@pytest.mark.parametrize("lengths", [(1, 6, 3), (6, 6, 6)])
def test_generalized_advantages_equal_a_float64_loop_for_ragged_rows(lengths):
    rng = np.random.default_rng(0)
    rewards, values = rng.normal(size=(2, 3, 6))
    mask = np.arange(6) < np.array(lengths)[:, None]
    expected = np.zeros((3, 6))
    for row, length in enumerate(lengths):
        for start in range(length):
            for k in range(start, length):
                following = values[row, k + 1] if k + 1 < length else 0.0
                delta = rewards[row, k] + 0.9 * following - values[row, k]
                expected[row, start] += (0.9 * 0.8) ** (k - start) * delta
    result = generalized_advantages(
        torch.tensor(rewards * mask), torch.tensor(values), torch.tensor(mask), discount=0.9, gae_lambda=0.8
    )
    np.testing.assert_allclose(result.advantages.numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(result.returns.numpy(), expected + values * mask, atol=1e-12)


def test_shaped_rewards_match_the_hand_computed_values():
    rewards = shaped_rewards(t(1.0), t([-1.0, -2.0]), t([-1.5, -1.5]), ALL[:, :2], kl_coef=0.02)
    torch.testing.assert_close(rewards, t([-0.01, 1.01]))


@pytest.mark.parametrize("last", [0, 1, 3])
def test_the_score_lands_on_the_last_sampled_token_wherever_that_is(last):
    mask = torch.arange(4)[None] <= last
    rewards = shaped_rewards(t(5.0), torch.zeros(1, 4), torch.zeros(1, 4), mask, kl_coef=0.1)
    expected = torch.zeros(1, 4)
    expected[0, last] = 5.0
    torch.testing.assert_close(rewards, expected)


def test_whitened_values_have_mean_zero_and_variance_one_over_what_counts():
    torch.manual_seed(0)
    values, mask = torch.randn(8, 5) * 3 + 7, torch.rand(8, 5) > 0.3
    white = whiten(values, mask)
    counted = white[mask].double().numpy()
    assert counted.mean() == pytest.approx(0, abs=1e-6)
    assert counted.var() == pytest.approx(1, abs=1e-5)
    assert not white[~mask].any()


def test_masked_mean_of_nothing_is_zero_and_last_index_of_nothing_is_refused():
    assert masked_mean(t([1.0, 2.0]), t([False, False])).item() == 0
    with pytest.raises(ValueError, match="counts nothing"):
        last_index(t([False, False])[None])


def test_kl_estimators_agree_with_the_exact_divergence_in_expectation():
    torch.manual_seed(0)
    policy, reference = torch.randn(2, 6).log_softmax(-1).double()
    exact = (policy.exp() * (policy - reference)).sum()
    for estimator in (kl_k1, kl_k3):
        torch.testing.assert_close((policy.exp() * estimator(policy, reference)).sum(), exact)
    assert (kl_k3(policy, reference) >= 0).all()


def test_token_logprobs_and_entropy_equal_the_softmax_written_out():
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 3, 7), torch.randint(0, 7, (2, 3))
    probabilities = np.exp(logits.double().numpy() / 0.7)
    probabilities /= probabilities.sum(-1, keepdims=True)
    picked = np.take_along_axis(probabilities, targets.numpy()[..., None], -1)[..., 0]
    np.testing.assert_allclose(token_logprobs(logits, targets, temperature=0.7).numpy(), np.log(picked), atol=1e-5)
    entropy = -(probabilities * np.log(probabilities)).sum(-1)
    np.testing.assert_allclose(token_entropy(logits, temperature=0.7).numpy(), entropy, atol=1e-5)


def test_masked_next_token_loss_is_the_mean_over_what_counts():
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 3, 7), torch.randint(0, 7, (2, 3))
    mask = t([True, False, True], [False, False, True])
    expected = F.cross_entropy(logits[mask], targets[mask])
    torch.testing.assert_close(next_token_loss(logits, targets, mask), expected)
    uniform = next_token_loss(torch.zeros(1, 2, 50257), torch.zeros(1, 2, dtype=torch.long))
    assert uniform.item() == pytest.approx(10.824905, abs=1e-5)


def test_bits_per_byte_of_a_fair_coin_per_byte_is_one():
    assert bits_per_byte(100 * math.log(2), 100) == pytest.approx(1.0)
