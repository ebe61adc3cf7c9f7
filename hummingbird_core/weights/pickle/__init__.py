"""Tensors out of pickles, which are read and never executed."""
