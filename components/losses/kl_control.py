"""Controllers of the KL coefficient: how strongly the policy is held near the reference."""


def ziegler_coefficient(coefficient: float, kl: float, *, target: float, episodes: int, horizon: int) -> float:
    """The next coefficient by Ziegler et al. 2019 (arXiv:1909.08593, section 2.2, and its released code).

    error = clip(kl / target - 1, -0.2, 0.2); coefficient * (1 + error * episodes / horizon).

    Args:
        coefficient: present value.
        kl: mean KL of a whole reply to the reference, nats.
        target: KL to hold, nats a reply.
        episodes: replies sampled since the last update of the coefficient.
        horizon: episodes over which the coefficient changes by about the error.
    """
    error = min(0.2, max(-0.2, kl / target - 1))
    return coefficient * (1 + error * episodes / horizon)


def schulman_coefficient(coefficient: float, kl: float, *, target: float) -> float:
    """The next coefficient by PPO (arXiv:1707.06347, section 4): halved below target / 1.5, doubled above 1.5 x it."""
    if kl < target / 1.5:
        return coefficient / 2
    return coefficient * 2 if kl > target * 1.5 else coefficient
