"""A smaller, faster VAE decoder: pruned, then distilled."""
