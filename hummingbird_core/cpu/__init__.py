"""Faster kernels for CPUs, with the results of the ordinary ones."""
