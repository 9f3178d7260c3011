"""GPT-2 alone."""
