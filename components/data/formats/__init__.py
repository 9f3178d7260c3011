"""Rows as people publish them, told apart by their keys; `known.py` lists the formats in the order they are tried."""
