"""Training clips: their sources, the order they are drawn in, and their latents on disk."""
