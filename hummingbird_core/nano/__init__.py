"""The built-in model's small world: captioned clips, readers of videos, latents."""
