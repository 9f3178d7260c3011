"""Prompt engineering as a pipeline: techniques side by side on an adopted model, with what they cost."""

from components.stage import Pipeline, node

PIPELINE = Pipeline(
    node("adopt"),
    node("questions"),
    node("prompting", models=("adopt/model",)),
)
