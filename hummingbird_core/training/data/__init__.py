"""Clips to train on: where they are, which part of them when, and their latents on disk."""
