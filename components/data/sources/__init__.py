"""Where raw records come from: one kind of source a file, with its parameters, `read`, `digest` and `is_missing`."""
