"""A style or a subject from a folder of clips or pictures, as a LoRA."""
