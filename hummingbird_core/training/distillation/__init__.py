"""Both distillation stages: recipes, objectives, validation."""
