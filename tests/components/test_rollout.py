"""Rollouts: log-probabilities of what was sampled, and where the score lands."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from components.data.sequences import SequenceBatch, pack
from components.losses.sampling import Sampling, candidates
from components.models.generation import Replies
from components.models.scoring import response_logits, response_logprobs
from components.rl import rollout
from components.rl.rollout import PER_TOKEN, collect, compute_advantages, distinct_bigrams
from tests.components.alignment import algorithm, make_module


@pytest.mark.parametrize("sampling", [{}, {"generation__temperature": 0.7}, {"generation__top_k": 20},
                                      {"generation__top_p": 0.8},
                                      {"generation__temperature": 1.4, "generation__top_k": 50,
                                       "generation__top_p": 0.9}])  # fmt: skip
def test_before_the_first_update_ratios_are_one_for_every_sampling(stage, sampling):
    module = make_module(stage(**sampling))
    figures = module.iterate()
    assert figures["rollout/kl_exact_per_token"] == pytest.approx(0, abs=1e-7)
    assert figures["rollout/kl_per_reply"] == pytest.approx(0, abs=1e-6)
    assert figures["update/first_ratio_deviation"] < 1e-5


def test_logprobs_of_sampled_ids_are_those_that_the_sampler_drew_from(stage):
    """A float64 softmax over the cut distribution, token by token, without the batch code."""
    module = make_module(stage(generation__top_k=5, generation__temperature=0.9))
    rollout = module.sample([module.prompts[row] for row in range(4)], [0, 1, 2, 3], 0)
    for row in range(4):
        prompt = module.prompts[row].ids
        said = rollout.batch.response_ids[row][rollout.batch.response_mask[row]].tolist()
        for place, token in enumerate(said):
            ids = torch.tensor([prompt + said[:place]])
            with torch.no_grad():
                logits = module.policy.logits(module.policy(ids))[0, -1].double().numpy() / 0.9
            best = np.sort(logits)[-5:]
            assert logits[token] >= best[0] - 1e-9
            expected = logits[token] - np.log(np.exp(best).sum())
            assert rollout.old_logprobs[row, place].item() == pytest.approx(expected, abs=1e-5)


def test_a_policy_that_moved_is_asked_over_what_the_sampler_could_draw(stage):
    module = make_module(stage(generation__top_k=3))
    rollout = module.sample([module.prompts[0]], [0], 0)
    with torch.no_grad():
        for parameter in module.policy.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    moved = response_logprobs(module.policy, rollout.batch, Sampling(top_k=3), rollout.kept)
    assert torch.isfinite(moved).all()
    own = candidates(response_logits(module.policy, rollout.batch), Sampling(top_k=3))
    assert not torch.equal(own, rollout.kept)


@pytest.mark.parametrize(("lengths", "ended"), [((1, 4, 8), (True, True, True)), ((8, 8, 8), (False, False, True))])
def test_the_score_lands_on_the_end_marker_wherever_it_is(stage, lengths, ended):
    module = make_module(stage(ppo__kl_coef=0.0))
    mask = torch.arange(8) < torch.tensor(lengths)[:, None]
    replies = Replies(torch.full((3, 8), 9) * mask, mask, torch.tensor(ended))
    scores = torch.tensor([1.0, 2.0, 3.0])
    rollout = collect(
        [[5, 6], [5], [5, 6, 7]], replies, scores, policy=module.policy, reference=module.frozen["reference"],
        value_model=None, sampling=Sampling(), unended_score=-4.0, pad_id=0,
    )  # fmt: skip
    params = stage(ppo__kl_coef=0.0).section
    flat = replace(params, algorithm=replace(params.algorithm, gae_lambda=0.0))
    returns = compute_advantages(rollout, flat, kl_coef=0.0).returns  # lambda 0, values 0: it is the reward itself
    expected = torch.zeros(3, 8)
    for row, (length, end, score) in enumerate(zip(lengths, ended, scores, strict=True)):
        expected[row, length - 1] = score if end else -4.0
    torch.testing.assert_close(returns, expected)


def test_distinct_bigrams_count_what_no_earlier_reply_said():
    mask = torch.tensor([[True] * 4, [True] * 4, [True, False, False, False]])
    batch = SequenceBatch(
        torch.tensor([[1, 5, 6, 5, 6], [1, 5, 6, 7, 8], [1, 5, 0, 0, 0]]), torch.tensor([1, 1, 1]), mask
    )
    torch.testing.assert_close(distinct_bigrams(batch), torch.tensor([2 / 3, 2 / 3, 1.0]))


@pytest.mark.parametrize("sampling", [{}, {"generation__top_k": 7}])
def test_a_prompt_read_once_for_its_replies_gives_the_rollout_of_each_read_with_it(stage, sampling, monkeypatch):
    module = make_module(stage(**algorithm("rloo"), **sampling))
    prompts = [module.prompts[row] for row in (0, 1) for _ in range(4)]
    shared = module.sample(prompts, list(range(8)), 0)
    assert shared.batch.prompt_numbers is not None
    monkeypatch.setattr("components.rl.rollout.pack", lambda *a, **k: replace(pack(*a, **k), prompt_numbers=None))
    apart = module.sample(prompts, list(range(8)), 0)
    for name in PER_TOKEN:
        torch.testing.assert_close(getattr(shared, name), getattr(apart, name), atol=1e-5, rtol=1e-5)
    assert (shared.kept is None) == (not sampling) and (shared.kept is None or torch.equal(shared.kept, apart.kept))


def test_distributions_of_a_large_vocabulary_are_made_of_some_tokens_at_a_time(stage, monkeypatch):
    module = make_module(stage(generation__top_k=7))
    prompts = module.prompts[:5]
    whole = module.sample(prompts, list(range(5)), 0)
    seen, figures = [], rollout._token_figures
    monkeypatch.setattr(rollout, "_token_figures", lambda *a: seen.append(len(a[0])) or figures(*a))
    monkeypatch.setattr(rollout, "LOGITS", 7 * module.policy.config.vocab_size)
    parts = module.sample(prompts, list(range(5)), 0)
    tokens = int(whole.batch.response_mask.sum())
    assert seen == [7] * (tokens // 7) + [tokens % 7] * (tokens % 7 > 0)
    for name in PER_TOKEN:
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), atol=1e-6, rtol=1e-5)
    assert torch.equal(parts.kept, whole.kept)
