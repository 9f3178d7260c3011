"""GPT-3: learning in context."""
