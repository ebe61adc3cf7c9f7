"""The built-in model's synthetic dataset, readers of its videos, evaluation and latents."""
