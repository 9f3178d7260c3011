"""Where labelled texts come from: one kind a file, with its parameters and `rows`, which makes them."""
