"""Pruning of a U-Net: which blocks to remove, what that costs, and the smaller student."""
