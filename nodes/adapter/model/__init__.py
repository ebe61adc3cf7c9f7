"""Native ComfyUI objects of our checkpoints: MODEL, CLIP and VAE."""
