"""Who runs a function over shards: one kind a file, with its parameters and `run`."""
