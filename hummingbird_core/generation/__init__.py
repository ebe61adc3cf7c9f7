"""Many videos: jobs from prompts, models to make them, engines to share the work."""
