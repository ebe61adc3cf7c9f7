"""Weights files: tensors in and out, without executing anything."""
