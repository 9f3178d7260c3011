"""A whole PPO update: what it must not depend on, what it must find, and what ends a run."""

import copy
import math
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from components.checkpoints import load_gpt, save_model
from components.data.sequences import SequenceBatch
from components.losses.language_modelling import next_token_loss
from components.losses.ppo import clipped_policy_loss
from components.losses.sampling import Sampling, candidates
from components.models import scoring
from components.models.adapters import trainable
from components.models.generation import Replies
from components.models.heads import ScalarGPT
from components.models.scoring import response_logits, response_logprobs
from components.rewards.source import RewardSource
from components.rl.rollout import Experience, Rollout, collect, compute_advantages, distinct_bigrams, rollout_figures
from components.rl.safeguards import PreflightFailed, TrainingStopped, check_rollout, preflight
from components.rl.update import PolicyUpdate
from components.sections.weights import Lora
from components.stages.ppo import Stops
from tests.components.alignment import actor_critic, make_files, make_module, make_stage, steady

ALGORITHMS = {
    "ppo": None,
    "grpo": {"kind": "grpo", "replies_per_prompt": 4},
    "rloo": {"kind": "rloo", "replies_per_prompt": 4},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root = tmp_path_factory.mktemp("alignment")
    make_files(root)
    return root


@pytest.fixture
def stage(files, monkeypatch):
    monkeypatch.chdir(files)

    def make(**changes):
        return make_stage(files, **changes)

    return make


def algorithm(name):
    return {} if ALGORITHMS[name] is None else {"ppo__algorithm": ALGORITHMS[name]}


def experience_of(module):
    """A rollout of the first prompts, under a policy that has moved away from the reference and the sampler's."""
    batch = module.make_batch(0)
    group = module.stage.section.algorithm.replies_per_prompt
    prompts = [module.prompts[row] for _, row in batch for _ in range(group)]
    rollout = module.sample(prompts, list(range(len(prompts))), 0)
    torch.manual_seed(3)
    with torch.no_grad():
        for network in filter(None, (module.policy, module.value)):
            for parameter in network.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
    return compute_advantages(rollout, module.stage.section, kl_coef=0.1)


def improved(stage, experience=None, places=None, **changes):
    """Weights and figures after one update on an experience."""
    module = make_module(stage(**changes))
    own = experience_of(module)
    experience = own if experience is None else experience(own)
    figures = module.update(experience, places or list(range(8)), step=0)
    weights = {f"policy.{name}": w for name, w in module.policy.state_dict().items()}
    if module.value is not None:
        weights |= {f"value.{name}": w for name, w in module.value.state_dict().items()}
    return weights, figures


def assert_same(left, right):
    for name, weight in left[0].items():
        torch.testing.assert_close(weight, right[0][name], atol=1e-6, rtol=0, msg=lambda m, n=name: f"{n}: {m}")
    assert left[1].keys() == right[1].keys()
    for name, figure in left[1].items():
        assert figure == pytest.approx(right[1][name], abs=1e-5, rel=1e-5), name


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_update_moves_the_networks(stage, name):
    module = make_module(stage(**algorithm(name)))
    before = module.policy.token_embedding.weight.clone()
    module.iterate()
    assert (module.policy.token_embedding.weight - before).abs().max() > 1e-5
    assert (module.value is None) == (name != "ppo")


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("size", [1, 2, 4])
def test_an_update_does_not_depend_on_how_the_minibatch_is_cut(stage, name, size):
    whole = improved(stage, **algorithm(name))
    assert_same(whole, improved(stage, ppo__microbatch_size=size, **algorithm(name)))


def permuted(order):
    def act(experience):
        index = torch.tensor(order)
        rollout = experience.rollout
        batch = rollout.batch
        moved = {
            f.name: None if getattr(rollout, f.name) is None else getattr(rollout, f.name)[index]
            for f in fields(Rollout)
            if f.name != "batch"
        }
        batch = SequenceBatch(batch.input_ids[index], batch.prompt_lengths[index], batch.response_mask[index])
        return Experience(Rollout(batch, **moved), experience.advantages[index], experience.returns[index])

    return act


def test_an_update_does_not_depend_on_the_order_of_the_batch(stage):
    order = [5, 2, 7, 0, 1, 6, 3, 4]
    assert_same(improved(stage), improved(stage, permuted(order), places=order))


def padded(columns):
    """More padding on the right of prompts and replies, filled with what must not be looked at."""

    def act(experience):
        rollout, batch = experience.rollout, experience.rollout.batch
        wide = torch.nn.functional.pad(batch.input_ids, (0, columns), value=3)
        mask = torch.nn.functional.pad(batch.response_mask, (0, columns), value=False)
        parts = {}
        for f in fields(Rollout):
            values = getattr(rollout, f.name)
            if f.name == "batch" or values is None or values.ndim != 2:
                continue
            parts[f.name] = torch.nn.functional.pad(values, (0, columns), value=7.5)
        moved = replace(rollout, batch=SequenceBatch(wide, batch.prompt_lengths, mask), **parts)
        pad = (0, columns)
        return Experience(
            moved,
            torch.nn.functional.pad(experience.advantages, pad, value=-3.0),
            torch.nn.functional.pad(experience.returns, pad, value=11.0),
        )

    return act


def test_an_update_does_not_depend_on_the_amount_of_padding(stage):
    """What a batch is padded with is cut away before the networks; test_models shows that they would not see it."""
    assert_same(improved(stage), improved(stage, padded(5)))


def test_figures_of_a_rollout_do_not_see_padding(stage):
    experience = experience_of(make_module(stage()))
    plain, wide = rollout_figures(experience), rollout_figures(padded(5)(experience))
    assert plain == pytest.approx(wide, abs=1e-6, rel=1e-6)


@pytest.mark.parametrize("sampling", [{}, {"generation__top_k": 4}])
@pytest.mark.parametrize("size", [1, 3])
def test_an_update_does_not_depend_on_which_rows_go_through_together(stage, monkeypatch, sampling, size):
    whole = improved(stage, **sampling)
    monkeypatch.setitem(scoring.GROUP_ROWS, "cpu", size)
    assert_same(whole, improved(stage, **sampling))


def test_gradient_of_the_mix_has_the_asked_share_of_the_policys(stage):
    mix = {"kind": "gradient_ratio", "value": 0.5}
    figures = improved(stage, ppo__pretraining_mix=mix)[1]
    scaled = figures["update/pretraining_coefficient"] * figures["update/pretraining_gradient_norm"]
    assert scaled == pytest.approx(0.5 * figures["update/policy_loss_gradient_norm"], rel=1e-5)


def test_mixing_by_coefficient_is_the_gradient_of_the_summed_loss(stage):
    """Two backward passes, then scaled and added: against autograd of the whole loss at once."""
    module = make_module(stage(ppo__pretraining_mix={"kind": "coefficient", "value": 2.0}))
    experience = experience_of(module)
    rollout = experience.rollout
    logprobs = response_logprobs(module.policy, rollout.batch, Sampling())
    policy = clipped_policy_loss(
        logprobs, rollout.old_logprobs, experience.advantages, rollout.batch.response_mask, clip_ratio=0.2
    )
    windows = PolicyUpdate(module, 0)._pretraining_windows(0)
    text = next_token_loss(module.policy(windows[:, :-1]), module.policy.head, windows[:, 1:])
    expected = torch.autograd.grad(policy.loss + 2.0 * text, list(module.policy.parameters()), allow_unused=True)
    seen = {}

    def record(network, optimizers, params):
        seen[network] = [parameter.grad for parameter in network.parameters()]
        return 0.0

    module.apply_gradients = record
    module.update(experience, list(range(8)), step=0)
    for found, wanted in zip(seen[module.policy], expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)


def test_the_published_average_after_n_updates_of_constant_weights(stage):
    module = make_module(stage(ppo__ema_decay=0.992, ppo__policy=steady(1e-30)))
    with torch.no_grad():
        for mean in module.averaged.parameters():
            mean.zero_()
    weight = module.policy.token_embedding.weight.detach().clone()
    for _ in range(3):
        module.iterate()
    torch.testing.assert_close(module.averaged.token_embedding.weight, weight * (1 - 0.992**3), rtol=1e-4, atol=1e-6)
    assert module.published is module.averaged


def test_critic_warm_up_leaves_the_policy_alone(stage):
    module = make_module(stage(ppo__algorithm=actor_critic(value_warmup=1)))
    policy, critic = module.policy.token_embedding.weight.clone(), module.value.head.weight.clone()
    module.iterate()
    assert torch.equal(module.policy.token_embedding.weight, policy)
    assert not torch.equal(module.value.head.weight, critic)
    module.iterate()
    assert not torch.equal(module.policy.token_embedding.weight, policy)


@pytest.mark.parametrize("changes", [{}, {"ppo__ema_decay": 0.5}])
def test_with_adapters_nothing_but_adapters_and_heads_moves(stage, changes):
    module = make_module(stage(ppo__weights={"kind": "lora", "rank": 2, "alpha": 4.0}, **changes))
    reference, reward = (copy.deepcopy(module.frozen[name].state_dict()) for name in ("reference", "reward"))
    figures = module.iterate()
    assert figures["rollout/kl_exact_per_token"] == 0
    module.iterate()
    for name, before in (("reference", reference), ("reward", reward)):
        assert all(torch.equal(weight, before[key]) for key, weight in module.frozen[name].state_dict().items())
    ids = torch.arange(10)[None]
    for moved, start in ((module.published, module.frozen["reference"]), (module.value, module.frozen["reward"])):
        assert (moved(ids) - start(ids)).abs().max() > 1e-6
    assert module.published.token_embedding.weight is module.frozen["reference"].token_embedding.weight
    assert module.value.body.token_embedding.weight is module.frozen["reward"].body.token_embedding.weight


def test_the_value_network_shares_the_trunk_of_an_adapted_reward_model_whatever_pays(stage):
    lora = {"kind": "lora", "rank": 2, "alpha": 4.0}
    reference = load_gpt(Path("artifacts/sft/model"))
    judge = trainable(ScalarGPT.on(reference), Lora(**lora))
    save_model(Path("artifacts/reward/model"), judge, Path("artifacts/prepare/tokenizer.json"))
    module = make_module(stage(ppo__weights=lora), Bandit())
    assert module.value.body.token_embedding.weight is module.frozen["reference"].token_embedding.weight


def test_adaptive_coefficient_moves_towards_the_target_and_is_part_of_the_checkpoint(stage):
    control = {"kind": "ziegler", "target": 1000.0, "horizon": 80}
    module = make_module(stage(ppo__kl_coef=0.1, ppo__kl_control=control))
    module.iterate()  # KL is 0: error -0.2, 8 episodes of a horizon of 80
    assert float(module.state_dict()["kl_coef"]) == pytest.approx(0.1 * (1 - 0.2 * 8 / 80))


class Bandit(RewardSource):
    """Pays 1 for a reply that ends; one that does not gets 0 by the rule for unended replies."""

    def score(self, prompts, batch):
        return torch.ones(len(prompts))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_bandit_with_a_known_optimum_is_solved(stage, name):
    """Replies of one token, of which the end marker alone pays: the optimum is to say it always."""
    module = make_module(
        stage(ppo__algorithm=ALGORITHMS[name] or actor_critic(0.01), ppo__policy=steady(0.01), ppo__iterations=60,
              ppo__rollout_batch_size=64, ppo__minibatch_size=32, ppo__microbatch_size=32, ppo__inner_epochs=2,
              ppo__kl_coef=0.0, ppo__unended_score=0.0, generation__max_new_tokens=1,
              ppo__pretraining_mix={"kind": "coefficient", "value": 0.0}),
        Bandit(),
    )  # fmt: skip
    with torch.no_grad():  # it must be tried now and then to be found
        module.policy.token_embedding.weight[module.tokenizer.end] += 4 * module.policy.final_norm.bias
    module.frozen["reference"].load_state_dict(module.policy.state_dict())
    scores = [module.iterate()["rollout/score"]]
    assert scores[0] < 0.4
    while scores[-1] <= 0.97 and len(scores) < 60:
        scores.append(module.iterate()["rollout/score"])
    assert scores[-1] > 0.97, scores


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


def test_preflight_names_what_is_wrong(stage):
    module = make_module(stage())
    rollout = module.sample(module.prompts[:4], [0, 1, 2, 3], 0)
    again = response_logprobs(module.policy, rollout.batch, Sampling())
    preflight(rollout, again, clip_ratio=0.2, demonstrations={"mean": 0.0, "std": 1.0})
    hot = response_logprobs(module.policy, rollout.batch, Sampling(0.7))
    with pytest.raises(PreflightFailed, match="another temperature"):
        preflight(rollout, hot, clip_ratio=0.2, demonstrations={})
    with pytest.raises(PreflightFailed, match="bias was not set"):
        preflight(rollout, again, clip_ratio=0.2, demonstrations={"mean": 1.3, "std": 1.0})
    with pytest.raises(PreflightFailed, match="a score is not finite"):
        broken = replace(rollout, raw_scores=torch.tensor([1.0, math.nan, 0.0, 0.0]))
        preflight(broken, again, clip_ratio=0.2, demonstrations={})
    with torch.no_grad():
        module.policy.final_norm.bias.add_(0.5)
    with pytest.raises(PreflightFailed, match=r"KL\(policy, reference\)"):
        moved = module.sample(module.prompts[:4], [0, 1, 2, 3], 0)
        preflight(moved, again, clip_ratio=0.2, demonstrations={})


START = {"rollout/kl_per_reply": 0.0, "rollout/entropy": 4.0, "rollout/distinct_2": 0.8,
         "rollout/response_tokens": 12.0, "rollout/ended_share": 0.9}  # fmt: skip
STOPS = Stops(kl_per_reply=30.0, entropy_share=0.1, distinct_2_share=0.2, response_tokens_share=0.2, ended_share=0.5)


@pytest.mark.parametrize(("figure", "value", "words"), [
    ("kl_per_reply", 31.0, "KL budget"),
    ("kl_per_reply", math.nan, "KL budget"),
    ("entropy", 0.3, "entropy_share"),
    ("distinct_2", 0.1, "distinct_2_share"),
    ("response_tokens", 1.0, "response_tokens_share"),
    ("ended_share", 0.4, "ended_share"),
])  # fmt: skip
def test_stop_rules_name_themselves(figure, value, words):
    check_rollout(START, START, STOPS)
    with pytest.raises(TrainingStopped, match=words):
        check_rollout({**START, f"rollout/{figure}": value}, START, STOPS)
