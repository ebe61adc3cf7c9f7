"""Loss weights of the built-in model's latents."""

from __future__ import annotations

from itertools import islice

import torch
import torch.nn.functional as F

from hummingbird_core.nano.latents import LATENT_CELL, foreground_weight, image_latents
from hummingbird_core.nano.world.scene import Scene
from hummingbird_core.nano.world.stream import samples


def cover(scene: Scene) -> torch.Tensor:
    """Share of each latent pixel that subjects cover, `[T, 8, 8]`."""
    seconds = scene.clip.seconds
    alphas = [
        subject.look.draw(
            subject.path.centers(seconds),
            subject.path.angles(seconds),
            subject.radius * scene.camera.scales(seconds),
        )[3]
        for subject in scene.subjects
    ]
    return F.avg_pool2d(torch.stack(alphas).amax(dim=0), LATENT_CELL)


def test_subjects_weigh_more_than_what_is_behind_them():
    found = {"subject": [], "plain": [], "place": []}
    for scene, *_ in islice(samples(6), 60):
        latents = image_latents(scene.render().transpose(0, 1) * 2 - 1).transpose(0, 1)[None]
        weight, cells = foreground_weight(latents)[0, 0], cover(scene)
        found["subject"].append(weight[cells > 0.5] > 1)
        found["place" if scene.place else "plain"].append(weight[cells == 0] > 1)
        assert (weight > 1).flatten(1).any(dim=1).all()  # in every frame
    share = {name: torch.cat(parts).float().mean() for name, parts in found.items()}
    assert share["subject"] > 0.97
    assert share["plain"] < 0.01
    assert share["place"] < 0.1  # the skyline, where hills rise and fall
