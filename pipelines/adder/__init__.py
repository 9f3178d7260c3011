"""minGPT's adder."""
