"""The server: OpenAI's wire contract over `components.inference`, and the pages. Nothing imports it."""
