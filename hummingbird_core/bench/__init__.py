"""Benchmarks of speed and memory; every ratio comes with a check of the outputs."""
