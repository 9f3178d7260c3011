"""Pipelines: declarations of which stages run on what."""
