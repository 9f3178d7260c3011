"""Prompts as versioned things: templates, techniques that ask with them, and what they cost."""
