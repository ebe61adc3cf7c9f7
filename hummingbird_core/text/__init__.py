"""Prompts to embeddings: tokenizers and the CLIP text encoder."""
