"""Captioned clips of moving shapes and images, drawn by rules."""
