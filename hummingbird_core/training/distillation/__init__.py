"""Both distillation stages: recipes, a step and its objectives, validation."""
