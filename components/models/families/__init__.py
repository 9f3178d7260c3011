"""Model families: what each asks for in a pipeline's `model` section, and its form in the `transformers` library.

A family is a configuration of the one transformer (`components.models.transformer`), so that what samples, scores,
adapts and resumes knows none by name.
"""
