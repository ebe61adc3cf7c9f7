"""Weights files: tensors in and out, without executing code from them."""
