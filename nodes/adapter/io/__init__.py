"""Files in ComfyUI's folders, downloads, prompts, frames and their scores."""
