"""How documents are treated: shards between steps, and what each step of `components.data.treatments` does."""
