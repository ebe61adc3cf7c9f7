"""Deterministic readers of videos from the synthetic dataset."""
