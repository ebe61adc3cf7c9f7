"""Batch generation: jobs from prompts, the model that runs them, and the run itself."""
