"""Faster layers for CPUs, with the results of the ordinary ones up to rounding.

`accelerate_for_cpu` is the one door: it goes over a finished model and gives each layer that has a
faster implementation the class which contains it. Weights, their names and everything else about
the layers stay as they are. The faster kernels decide in every call whether they apply: on a CPU,
without gradients and outside of torch.compile. Everything else is computed as before.
"""

from .layers import accelerate_for_cpu

__all__ = ["accelerate_for_cpu"]
