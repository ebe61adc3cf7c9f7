"""The built-in model: its world of moving shapes, its latents, and how it is made of nothing."""
