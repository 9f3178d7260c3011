"""Where the score of a reply comes from: one kind a file, with its parameters and `build`, which makes it."""
