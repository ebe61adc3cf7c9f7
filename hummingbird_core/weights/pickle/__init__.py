"""Weights-only reading of pickles: tensors and plain data, no code."""
