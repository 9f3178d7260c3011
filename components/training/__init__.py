"""What trains: the loop, its checkpoints and curves, optimizers, and the arithmetic of a lineage."""
