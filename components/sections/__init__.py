"""Sections of a parameter file that several stages read: one a file, so that a stage depends on its own alone."""
