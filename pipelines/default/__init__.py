"""The default pipeline, whose parameters and graph lie at the root of the repository."""
