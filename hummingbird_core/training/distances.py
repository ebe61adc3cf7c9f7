"""How far a prediction is from what it should be."""

from __future__ import annotations

from torch import Tensor

from ..sampling.consistency import alphas_cumprod, at_timestep

HUBER_C = 0.001
X0_WEIGHTS = (1.0, 20.0)  # the least and the most


def pseudo_huber(value: Tensor, target: Tensor, c: float = HUBER_C) -> Tensor:
    """mean(sqrt(d^2 + c^2) - c): near |d|, smooth at zero (arXiv 2310.14189)."""
    return (((value - target).square() + c**2).sqrt() - c).mean()


def noise_error(eps: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each clip's noise: `[B, 4, T, h, w]` twice to `[B]`."""
    return (eps - target).square().mean(dim=(1, 2, 3, 4))


def x0_weight(t: Tensor) -> Tensor:
    """(1 - a) / a, `[B]`: makes an error in the noise count like the one in x0 it leads to.

    From 1 to 20, though: below t = 400 shapes get their edges, where errors in x0 are small; and
    the last steps, where it is 200, would leave the others no say.
    """
    alphas = at_timestep(alphas_cumprod(), t, t.float())
    return ((1 - alphas) / alphas).clamp(*X0_WEIGHTS)
