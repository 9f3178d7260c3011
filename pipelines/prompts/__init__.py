"""Prompts: ways to ask an adopted model, side by side."""
