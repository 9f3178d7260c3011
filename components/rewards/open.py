"""The reward source that the parameters name."""

from pathlib import Path

from components.checkpoints import load_scalar
from components.data.chat import ChatTokenizer
from components.labeling.gold import Gold
from components.models.transformer import GPT
from components.rewards.gold import GoldFunction
from components.rewards.learned import LearnedReward
from components.rewards.source import RewardSource
from components.rewards.verifier import Verifier
from components.schema_rl import GoldReward, ModelReward, VerifierReward


def open_source(
    params: ModelReward | GoldReward | VerifierReward,
    tokenizer: ChatTokenizer,
    *,
    seed: int,
    trunk: GPT,
    model: Path,
    demonstrations: Path,
) -> RewardSource:
    """The reward source that the parameters name.

    Args:
        params: what kind of source, `ppo.reward`.
        tokenizer: of the policy.
        seed: of a verifier's questions.
        trunk: a reward model that was trained on it as adapters shares it.
        model: the reward model's folder.
        demonstrations: what the gold function is made of.

    Raises:
        ModuleNotFoundError: a verifier is asked for and the extra is not installed.
    """
    if isinstance(params, ModelReward):
        return LearnedReward(load_scalar(model, trunk))
    if isinstance(params, GoldReward):
        return GoldFunction(tokenizer, Gold.of_demonstrations(demonstrations))
    try:
        import reasoning_gym  # noqa: PLC0415 (an optional extra)
    except ModuleNotFoundError:
        raise ModuleNotFoundError("ppo.reward is `verifier`: pip install '.[verifier]' brings reasoning-gym") from None
    return Verifier(tokenizer, reasoning_gym.create_dataset(params.task, size=params.questions, seed=seed))
