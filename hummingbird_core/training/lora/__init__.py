"""A style or a subject from a folder of clips or images, as a LoRA."""
