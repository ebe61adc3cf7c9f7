"""Language models that answer: local transformers, OpenAI-compatible servers."""
