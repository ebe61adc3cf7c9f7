"""Sample Video from a given video: how much of it is left, and where the noise begins."""

from __future__ import annotations

import pytest
import torch
from support.comfy.graphs import PROMPT
from support.comfy.native import encode, settings
from support.models import relative_l2


@pytest.mark.parametrize("name", ["nano", "nano-teacher"])
def test_the_lower_the_strength_the_nearer_to_the_given_video(adapter, name):
    models = adapter.checkpoint.load_models(adapter.core_hub_local.resolve_model(name), "fp32")
    text, negative = encode(adapter, models, PROMPT), encode(adapter, models, "")

    def sample(seed: int, latent=None, **changes) -> dict:
        wanted = settings(adapter, **changes)
        return adapter.sample.sample_video(
            models.model, text, wanted, seed, negative=negative, latent=latent
        )

    given = sample(1, steps=8)
    nearer, farther, anew = (
        relative_l2(sample(2, given, strength=strength)["samples"], given["samples"])
        for strength in (0.1, 0.5, 1.0)
    )
    assert 0 < nearer < farther < anew


def test_a_strength_without_a_video_is_refused(adapter, nano, positive):
    """It would begin with a half-noisy nothing, and give a broken picture."""
    with pytest.raises(adapter.core_errors.InputError, match="input latent: got nothing"):
        adapter.sample.sample_video(nano.model, positive, settings(adapter, strength=0.5), 0)


@pytest.mark.parametrize(
    ("steps", "strength", "taken"),
    [(4, 1.0, 4), (4, 0.5, 4), (25, 0.3, 15), (8, 0.1, 5), (50, 0.1, 5), (4, 0.02, 1)],
)
def test_the_noise_begins_at_the_strength_also_for_many_steps(
    adapter, nano, steps, strength, taken
):
    """Some of the 50 noise levels are below the strength: the steps get fewer, not stronger."""
    sigmas = adapter.sample.sigmas_from(steps, strength)
    assert len(sigmas) == taken + 1
    assert sigmas[-1] == 0
    timestep = float(nano.model.get_model_object("model_sampling").timestep(sigmas[0]))
    assert timestep == pytest.approx(1000 * strength, abs=20)


@pytest.mark.parametrize(("strength", "taken"), [(0.3, 50), (0.02, 10)])
def test_a_teachers_noise_begins_at_the_strength(adapter, nano, strength, taken):
    """DDIM has 500 noise levels."""
    wanted = settings(adapter, steps=50, strength=strength)
    sigmas = adapter.sample._ddim_sigmas(nano.model, wanted)
    assert len(sigmas) == taken + 1
    timestep = float(nano.model.get_model_object("model_sampling").timestep(sigmas[0]))
    assert timestep == pytest.approx(1000 * strength, abs=20)
    assert torch.all(sigmas.diff() < 0)
