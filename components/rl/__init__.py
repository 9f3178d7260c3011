"""Reinforcement learning from a reward source: rollouts, updates, and what stops them."""
