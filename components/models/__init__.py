"""The transformer, its scalar head, its cache and sampling from it."""
