"""Chat formats that are known by name: one a file, each a value FORMAT."""
