"""The training loop of every stage."""
