"""The parts that compute: data, models, losses, stages and their evaluation. None knows of Prefect or DVC.

Shape letters used in every docstring: B sequences, T tokens of prompt and response, P prompt tokens,
R response tokens, V vocabulary, D width, H heads, K head width, L layers, N replies of one prompt.
Masks are True where a position counts. Losses are in nats unless a name says bits.
"""
