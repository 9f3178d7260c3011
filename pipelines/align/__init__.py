"""Aligning a model that exists."""
