"""Where the score of a reply comes from: one kind a file."""
