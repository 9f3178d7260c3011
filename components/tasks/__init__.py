"""Evaluations: one a file, with its parameters, the figures that it makes and `measure`, which makes them."""
