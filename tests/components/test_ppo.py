"""PPO as a whole: what an update moves and what it must find."""

import copy
from pathlib import Path

import pytest
import torch

from components.checkpoints import load_gpt, save_model
from components.losses.language_modelling import next_token_loss
from components.losses.ppo import clipped_policy_loss
from components.losses.sampling import Sampling
from components.models.adapters import trainable
from components.models.heads import ScalarGPT
from components.models.scoring import response_logprobs
from components.rewards.source import RewardSource
from components.rl.update import PolicyUpdate
from components.sections.weights import Lora
from tests.components.alignment import ALGORITHMS, actor_critic, algorithm, experience_of, make_module, steady, updated


@pytest.mark.parametrize("name", ALGORITHMS)
def test_an_update_moves_the_networks(stage, name):
    module = make_module(stage(**algorithm(name)))
    before = module.policy.token_embedding.weight.clone()
    module.iterate()
    assert (module.policy.token_embedding.weight - before).abs().max() > 1e-5
    assert (module.value is None) == (name != "ppo")


def test_gradient_of_the_mix_has_the_asked_share_of_the_policys(stage):
    mix = {"kind": "gradient_ratio", "value": 0.5}
    figures = updated(stage, ppo__pretraining_mix=mix)[1]
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
