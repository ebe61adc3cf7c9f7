"""At which timesteps clips are trained on, what is left of them there, and how errors count."""

from __future__ import annotations

import pytest
import torch

from hummingbird_core.sampling import add_noise, predict_x0
from hummingbird_core.sampling.schedule import alpha_sigma
from hummingbird_core.training.data.clip_sources import Mixture
from hummingbird_core.training.data.nano_clips import NanoClips
from hummingbird_core.training.distillation.losses import inverse_snr_weight
from hummingbird_core.training.distillation.noise import (
    NoiseConfig,
    add_noise_below_terminal,
    add_noise_zero_snr,
    draw_timesteps,
    x0_to_eps,
)
from hummingbird_core.training.distillation.stage import kind_of_step

EVENLY = torch.linspace(0, 0.9999, 8000)


@pytest.mark.parametrize("kind", ["uniform", "grid", "bins"])
def test_timesteps_fill_their_range(kind):
    t = draw_timesteps(EVENLY, NoiseConfig(timesteps=kind))
    assert t.max() == 999
    assert t.min() == {"uniform": 0, "grid": 19, "bins": 0}[kind]
    assert (t == 999).float().mean() == pytest.approx(
        {"uniform": 0.001, "grid": 0.02, "bins": 0.126}[kind], abs=0.003
    )


def test_an_eighth_of_the_clips_is_in_each_bin():
    t = draw_timesteps(EVENLY, NoiseConfig(timesteps="bins"))
    eighths = t.unflatten(0, (8, 1000))
    assert [(low, high) for low, high in zip(*eighths.aminmax(dim=1), strict=True)] == [
        (999, 999),
        (900, 999),
        *[(400, 899)] * 2,
        *[(200, 599)] * 2,
        *[(0, 399)] * 2,
    ]


def test_a_share_of_the_clips_is_where_sampling_asks():
    t = draw_timesteps(EVENLY, NoiseConfig(timesteps="bins", sampling_share=0.6))
    own, others = t[:4800], t[4800:]
    assert own.unique(return_counts=True)[0].tolist() == [279, 519, 759, 999]
    assert own.unique(return_counts=True)[1].tolist() == pytest.approx([1200] * 4, abs=2)
    assert (others == 999).float().mean() == pytest.approx(1 / 8, abs=0.005)
    assert others.min() == 0


def test_the_last_step_is_trained_on_pure_noise():
    latents, noise = torch.randn(2, 2, 4, 2, 4, 4)
    t = torch.tensor([998, 999])
    sample = add_noise_zero_snr(latents, noise, t)
    assert torch.equal(sample[1], noise[1])
    assert torch.equal(sample[0], add_noise(latents, noise, t)[0])
    eps = x0_to_eps(latents, sample, t)
    torch.testing.assert_close(predict_x0(sample, eps, t), latents, atol=1e-4, rtol=0)
    torch.testing.assert_close(eps[0], noise[0])


def test_signals_at_the_last_step_reach_from_none_to_the_schedules():
    latents, noise = torch.randn(2, 4, 4, 2, 4, 4)
    t = torch.tensor([998, 999, 999, 999])
    sample = add_noise_below_terminal(latents, noise, t, torch.tensor([0.0, 0.0, 0.5, 1.0]))
    usual = add_noise(latents, noise, t)
    torch.testing.assert_close(sample[[0, 3]], usual[[0, 3]])
    assert torch.equal(sample[1], noise[1])
    half = alpha_sigma(999, latents)[0][0] / 2
    torch.testing.assert_close(sample[2], half * latents[2] + (1 - half**2).sqrt() * noise[2])


def test_weighted_noise_error_is_the_error_in_x0_within_limits():
    x, noise, wrong = torch.randn(3, 1, 4, 2, 4, 4)
    for t in torch.tensor([[500], [700]]):
        error = (predict_x0(x, wrong, t) - predict_x0(x, noise, t)).square().mean()
        torch.testing.assert_close(
            inverse_snr_weight(t)[0] * (wrong - noise).square().mean(), error
        )
    assert inverse_snr_weight(torch.tensor([0, 999])).tolist() == [1, 20]


@pytest.mark.parametrize(
    ("settings", "lengths", "kinds"),
    [
        (NoiseConfig(), (16,), {""}),
        (NoiseConfig(), (16, 8), {"16 frames", "8 frames"}),
        (NoiseConfig(samples="teacher_path"), (16, 8), {""}),
        (NoiseConfig(samples="on_policy", mixed_steps=(1, 4)), (16,), {"1 step", "4 steps"}),
    ],
)
def test_kinds_of_steps(settings, lengths, kinds):
    sources = [(NanoClips(length), 1.0) for length in lengths]
    mixture = Mixture(sources, names=[f"{length} frames" for length in lengths])
    clips = mixture if len(lengths) > 1 else sources[0][0]
    kind = kind_of_step(clips, settings)
    assert {kind(step) for step in range(20)} == kinds
    drawn = [clips.batch(step, size=1).latents.shape[2] for step in range(4)]
    if "16 frames" in kinds:
        assert [kind(step) for step in range(4)] == [f"{length} frames" for length in drawn]
