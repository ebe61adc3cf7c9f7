"""Training of the built-in model from scratch on the synthetic dataset."""
