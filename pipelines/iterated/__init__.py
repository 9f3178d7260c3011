"""Rounds by the simulated labeler, beside one round of as many rankings."""
