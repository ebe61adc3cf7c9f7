"""Hummingbird: small, fast text-to-video. Plain PyTorch, usable with or without ComfyUI."""

__version__ = "0.1.0"
