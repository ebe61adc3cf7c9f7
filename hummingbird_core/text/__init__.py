"""Text encoding: tokenizers, the CLIP text encoder and its key names."""
