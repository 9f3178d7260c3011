"""Losses against numbers worked out by hand, float64 loops and properties."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from components.losses.advantages import (
    generalized_advantages,
    group_normalized_advantages,
    leave_one_out_advantages,
    shaped_rewards,
)
from components.losses.kl_control import schulman_coefficient, ziegler_coefficient
from components.losses.masking import last_index, masked_mean, whiten
from components.losses.ppo import clipped_policy_loss, clipped_value_loss, exact_kl, kl_k1, kl_k2, kl_k3
from components.losses.preference import best_of_k_loss, implicit_rewards, pairwise_loss, ranking_loss
from components.losses.sampling import Sampling, candidates, scaled_logits, token_entropy, token_logprobs


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
    kl = kl_k1(t([-1.0, -2.0]), t([-1.5, -1.5]))
    rewards = shaped_rewards(t(1.0), kl, ALL[:, :2], kl_coef=0.02)
    torch.testing.assert_close(rewards, t([-0.01, 1.01]))


@pytest.mark.parametrize("last", [0, 1, 3])
def test_the_score_lands_on_the_last_sampled_token_wherever_that_is(last):
    mask = torch.arange(4)[None] <= last
    rewards = shaped_rewards(t(5.0), torch.zeros(1, 4), mask, kl_coef=0.1)
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
    torch.testing.assert_close(exact_kl(policy, reference), exact)


def test_the_gradient_of_k2_is_that_of_the_divergence():
    """d/dtheta E_pi[log pi - log ref] = E_pi[(log pi - log ref) d log pi]."""
    torch.manual_seed(1)
    theta, reference = torch.randn(6, dtype=torch.float64, requires_grad=True), torch.randn(6).double().log_softmax(-1)
    logprobs = theta.log_softmax(-1)
    (expected,) = torch.autograd.grad(exact_kl(logprobs, reference), theta, retain_graph=True)
    surrogate = (logprobs.detach().exp() * kl_k2(logprobs, reference)).sum()
    torch.testing.assert_close(torch.autograd.grad(surrogate, theta)[0], expected)


def test_exact_kl_counts_nothing_where_the_policy_cannot_go():
    policy, reference = torch.tensor([0.25, 0.75, 0.0]).log(), torch.tensor([0.5, 0.25, 0.25]).log()
    expected = 0.25 * math.log(0.5) + 0.75 * math.log(3)
    assert exact_kl(policy, reference).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("cut", [{}, {"top_k": 2}, {"top_p": 0.5}])
def test_greedy_tokens_are_scored_under_the_whole_unscaled_distribution(cut):
    logits = torch.tensor([[[2.0, 1.0, 0.0, -1.0]]])
    greedy = Sampling(temperature=0.0, **cut)
    assert not greedy.cuts and candidates(logits, greedy) is None
    total = sum(math.exp(value) for value in (2, 1, 0, -1))
    for target, value in enumerate((2, 1, 0, -1)):
        found = token_logprobs(logits, torch.tensor([[target]]), greedy)
        assert float(found) == pytest.approx(math.log(math.exp(value) / total), abs=1e-6)


def test_token_logprobs_and_entropy_equal_the_softmax_written_out():
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 3, 7), torch.randint(0, 7, (2, 3))
    probabilities = np.exp(logits.double().numpy() / 0.7)
    probabilities /= probabilities.sum(-1, keepdims=True)
    picked = np.take_along_axis(probabilities, targets.numpy()[..., None], -1)[..., 0]
    np.testing.assert_allclose(token_logprobs(logits, targets, Sampling(0.7)).numpy(), np.log(picked), atol=1e-5)
    entropy = -(probabilities * np.log(probabilities)).sum(-1)
    np.testing.assert_allclose(
        token_entropy(scaled_logits(logits, Sampling(0.7), None).log_softmax(-1)).numpy(), entropy, atol=1e-5
    )


def test_parts_of_a_batch_divided_by_the_count_of_the_whole_add_up_to_its_mean():
    torch.manual_seed(0)
    values, mask = torch.randn(6, 5).double(), torch.rand(6, 5) > 0.4
    parts = [masked_mean(values[rows], mask[rows], mask.sum()) for rows in (slice(0, 1), slice(1, 4), slice(4, 6))]
    np.testing.assert_allclose(sum(parts), values.numpy()[mask.numpy()].mean())


def test_whitening_without_shift_keeps_the_mean():
    values = t([1.0, 2.0, 3.0, 99.0])
    white = whiten(values, t([True, True, True, False]), shift_mean=False)
    # variance 2/3: a deviation of 1 becomes sqrt(3/2)
    torch.testing.assert_close(white, t([2 - 1.5**0.5, 2.0, 2 + 1.5**0.5, 0.0]))


def test_adaptive_kl_coefficients_match_the_worked_examples():
    assert ziegler_coefficient(0.15, 12, target=6, episodes=512, horizon=10_000) == pytest.approx(0.151536)
    assert ziegler_coefficient(0.15, 5.4, target=6, episodes=512, horizon=10_000) == pytest.approx(0.15 * 0.99488)
    assert [schulman_coefficient(1.0, kl, target=6.0) for kl in (3.9, 4.1, 6, 8.9, 9.1)] == [0.5, 1, 1, 1, 2]


def test_leave_one_out_and_group_advantages_match_hand_computed_values():
    returns = t([1.0, 2.0, 6.0], [4.0, 4.0, 4.0]).flatten()
    torch.testing.assert_close(leave_one_out_advantages(returns, group_size=3), t([-3.0, -1.5, 4.5, 0, 0, 0])[0])
    deviation = 7**0.5  # squares 4, 1, 9 over 3 - 1
    expected = t([-2.0, -1.0, 3.0, 0, 0, 0])[0] / (deviation + 1e-4)
    torch.testing.assert_close(group_normalized_advantages(returns, group_size=3), expected)


def test_pairwise_loss_weighs_pairs_alike_and_ranking_loss_prompts():
    scores, ranks = t([2.0, 1.0, 0.0], [1.0, 0.0, 0.0]), t([1, 2, 3], [1, 2, 0])
    a, b = -math.log(1 / (1 + math.exp(-1))), -math.log(1 / (1 + math.exp(-2)))
    assert pairwise_loss(scores, ranks, margin=0.0).loss.item() == pytest.approx((2 * a + b + a) / 4, abs=1e-6)
    assert ranking_loss(scores, ranks).loss.item() == pytest.approx(((2 * a + b) / 3 + a) / 2, abs=1e-6)
    with_margin = pairwise_loss(scores[1:], ranks[1:], margin=1.0)
    assert with_margin.loss.item() == pytest.approx(math.log(2), abs=1e-6)


def test_best_of_k_loss_is_cross_entropy_with_ties_sharing_the_target():
    scores, ranks = t([1.0, 0.0, 0.0, 9.0]), t([1, 2, 3, 0])
    assert best_of_k_loss(scores, ranks).loss.item() == pytest.approx(-math.log(math.e / (math.e + 2)), abs=1e-6)
    tied = best_of_k_loss(t([1.0, 0.0, 0.0]), t([1, 1, 3]))
    assert tied.loss.item() == pytest.approx(math.log(math.e + 2) - 0.5, abs=1e-6)
    assert best_of_k_loss(t([1.0, 0.0]), t([1, 1])).loss.item() == 0


def test_ranking_by_implicit_rewards_is_dpo_for_two_replies():
    own, reference = t([-5.0, -9.0]), t([-6.0, -8.5])
    rewards = implicit_rewards(own, reference, beta=0.3)
    expected = -math.log(1 / (1 + math.exp(-0.3 * ((-5 + 6) - (-9 + 8.5)))))
    assert ranking_loss(rewards, t([1, 2])).loss.item() == pytest.approx(expected, abs=1e-6)


def test_top_k_and_top_p_keep_what_they_should():
    logits = t([0.4, 0.3, 0.2, 0.1]).log()
    assert candidates(logits, Sampling()) is None
    assert candidates(logits, Sampling(top_k=2)).tolist() == [[True, True, False, False]]
    assert candidates(logits, Sampling(top_p=0.65)).tolist() == [[True, True, False, False]]  # 0.4 alone falls short
    assert candidates(logits, Sampling(top_k=1, top_p=0.9)).tolist() == [[True, False, False, False]]
    # A temperature of 1/2 squares the probabilities: 16/30 of the mass is on the first, so top_p = 0.5 keeps it alone.
    assert candidates(logits, Sampling(temperature=0.5, top_p=0.5)).tolist() == [[True, False, False, False]]


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.7), Sampling(1.3, 3), Sampling(1.0, 0, 0.8),
                                      Sampling(0.5, 5, 0.9)])  # fmt: skip
def test_logprobs_are_those_of_a_renormalised_float64_softmax(sampling):
    torch.manual_seed(0)
    logits = torch.randn(1, 4, 9)
    kept = candidates(logits, sampling)
    for position in range(4):
        weights = np.exp(logits[0, position].double().numpy() / sampling.temperature)
        order = np.argsort(-weights)
        allowed = set(order[: sampling.top_k or 9].tolist())
        mass = np.array([weights[i] if i in allowed else 0.0 for i in range(9)])
        mass /= mass.sum()
        if sampling.top_p < 1:
            reached, nucleus = 0.0, set()
            for i in order:
                if reached < sampling.top_p:
                    nucleus.add(int(i))
                    reached += mass[i]
            allowed &= nucleus
            mass = np.array([mass[i] if i in allowed else 0.0 for i in range(9)])
            mass /= mass.sum()
        for token in allowed:
            target = torch.full((1, 4), token)
            assert token_logprobs(logits, target, sampling, kept)[0, position].item() == pytest.approx(
                math.log(mass[token]), abs=1e-5
            )
        entropy = -sum(p * math.log(p) for p in mass if p)
        assert token_entropy(scaled_logits(logits, sampling, kept).log_softmax(-1))[
            0, position
        ].item() == pytest.approx(entropy, abs=1e-5)
