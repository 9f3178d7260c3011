"""The parts that compute: data, models, losses, stages and their evaluation. None knows of Prefect or DVC.

Shape letters used in every annotation and docstring: B sequences, T tokens of prompt and response, P prompt tokens,
R response tokens, S tokens that are attended to, V vocabulary, D width, H heads, E width of a head, L layers,
K replies of one prompt, N whatever else is counted. As jaxtyping writes them, `Float[Tensor, "B T"]`: "" is a scalar,
`*places` any number of dimensions, `#B` is B or 1, `_` a size that nothing else has to have, `...` any shape. The tests
check them at every call (tests/shapes.py), a stage at none.
Masks are True where a position counts. Losses are in nats unless a name says bits.
"""
