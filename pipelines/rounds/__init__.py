"""Rounds of people's labels."""
