"""Sampling with a MODEL: one video, a long one in windows, the best of several seeds."""
