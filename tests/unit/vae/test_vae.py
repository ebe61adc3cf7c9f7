"""The VAE's loading, chunking, tiling and errors, on a tiny one with random weights."""

from __future__ import annotations

import json
import math
from contextlib import contextmanager

import pytest
import torch
from diffusers.models import AutoencoderTiny
from safetensors.torch import save_file
from support.models import det, manifest, relative_l2, rnd, tiny_vae

from hummingbird_core.errors import CheckpointError, InputError, NumericalError
from hummingbird_core.vae import (
    check_finite,
    decode_latents,
    diffusers_to_ldm,
    encode_video,
    load_vae,
    vae_config_from_state_dict,
    vae_scale_factor,
)
from hummingbird_core.vae.tiny import load_fast_decoder, psnr

SCALE = 0.9
ROUNDING = 1e-5  # another batch size may add up in another order


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    shapes = diffusers_to_ldm(tiny_vae().state_dict())
    return {key: det(key, value.shape) for key, value in shapes.items()}


@pytest.fixture
def vae(weights):
    loaded = load_vae(weights, norm_num_groups=4, scaling_factor=SCALE)
    return loaded.requires_grad_(False)


@contextmanager
def batches_seen(module: torch.nn.Module):
    """Input shapes of every forward call of `module` inside the block."""
    shapes: list[torch.Size] = []
    handle = module.register_forward_hook(lambda _, inputs, __: shapes.append(inputs[0].shape))
    yield shapes
    handle.remove()


# --- loading


def test_reads_stable_diffusions_config_from_the_shapes():
    shapes = {
        key.removeprefix("first_stage_model."): torch.empty(shape, device="meta")
        for key, shape in manifest("vae").items()
    }
    config = vae_config_from_state_dict(shapes)
    assert config["block_out_channels"] == [128, 256, 512, 512]
    assert config["layers_per_block"] == 2
    assert config["latent_channels"] == 4


def test_a_saved_vae_loads_again_as_the_same_function(weights):
    torch.manual_seed(1)
    original = tiny_vae()
    loaded = load_vae(diffusers_to_ldm(original.state_dict()), norm_num_groups=4)
    latents = rnd("z", (2, 4, 4, 6))
    with torch.no_grad():
        assert torch.equal(loaded.decode(latents).sample, original.decode(latents).sample)


def test_loads_a_vae_without_attention_in_the_middle():
    original = tiny_vae(mid_block_add_attention=False)
    loaded = load_vae(diffusers_to_ldm(original.state_dict()), norm_num_groups=4)
    assert loaded.config["mid_block_add_attention"] is False


def test_ignores_training_leftovers_and_casts(weights):
    extra = {**weights, "loss.discriminator.main.0.weight": torch.zeros(1)}
    loaded = load_vae(extra, norm_num_groups=4, dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}


def test_loaded_weights_can_be_trained(weights):
    loaded = load_vae(weights, norm_num_groups=4)
    assert all(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder.conv_in.bias": None}, r"1 missing \(decoder.conv_in.bias\)"),
        ({"decoder.extra": torch.zeros(1)}, r"1 unexpected \(decoder.extra\)"),
        ({"quant_conv.bias": torch.zeros(3)}, r"quant_conv.bias \(3,\) instead of \(8,\)"),
        ({"encoder.conv_in.weight": None}, "without 'encoder.conv_in.weight'"),
    ],
)
def test_names_the_keys_that_do_not_fit(weights, change, message):
    changed = {key: value for key, value in {**weights, **change}.items() if value is not None}
    with pytest.raises(CheckpointError, match=message):
        load_vae(changed, norm_num_groups=4)


def test_tells_of_an_impossible_number_of_groups(weights):
    with pytest.raises(CheckpointError, match="norm_num_groups"):
        load_vae(weights)


# --- decoding


def test_chunks_bound_the_batch_and_change_nothing(vae):
    latents = rnd("z", (2, 4, 5, 4, 6))
    whole = decode_latents(vae, latents, decode_chunk_size=10)
    with batches_seen(vae.decoder.conv_in) as shapes:
        chunked = decode_latents(vae, latents, decode_chunk_size=3)
    assert [shape[0] for shape in shapes] == [3, 3, 3, 1]
    assert chunked.shape == (2, 3, 5, 32, 48)
    assert relative_l2(chunked, whole) <= ROUNDING


def test_frames_stay_in_their_order(vae):
    latents = rnd("z", (2, 4, 3, 4, 4))
    video = decode_latents(vae, latents, decode_chunk_size=4)
    frame = vae.decode(latents[1, :, 2][None] / SCALE).sample
    assert relative_l2(video[1, :, 2], frame[0]) <= ROUNDING


def test_progress_counts_frames(vae):
    reported = []
    decode_latents(
        vae,
        rnd("z", (1, 4, 5, 4, 4)),
        decode_chunk_size=2,
        progress=lambda *step: reported.append(step),
    )
    assert reported == [(2, 5), (4, 5), (5, 5)]


@pytest.mark.parametrize("size", [(16, 24), (13, 20), (24, 17)])
def test_tiles_come_close_and_never_exceed_their_size(vae, size):
    tile = 12
    latents = rnd("z", (1, 4, 1, *size))
    whole = decode_latents(vae, latents)
    with batches_seen(vae.decoder.conv_in) as shapes:
        tiled = decode_latents(vae, latents, tile=tile)
    assert all(shape[2:] == (tile, tile) for shape in shapes)
    # Normalisation sees the tile alone, which random weights and noise make the most of
    # (0.22 measured). Unrelated frames are at about 1.4.
    assert relative_l2(tiled, whole) <= 0.3


def test_a_tile_as_large_as_the_frame_changes_nothing(vae):
    latents = rnd("z", (1, 4, 2, 5, 7))
    tiled = decode_latents(vae, latents, tile=8)
    assert relative_l2(tiled, decode_latents(vae, latents)) <= ROUNDING


def test_gradients_flow_through_chunks_and_tiles(vae):
    for tile in (None, 4):
        latents = rnd("z", (1, 4, 3, 6, 6)).requires_grad_()
        decode_latents(vae, latents, decode_chunk_size=2, tile=tile).square().sum().backward()
        assert latents.grad is not None
        assert bool((latents.grad.abs().amax(dim=(0, 1)) > 0).all())


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((4, 3, 8, 8), {}),
        ((1, 3, 1, 8, 8), {}),
        ((1, 4, 1, 8, 8), {"decode_chunk_size": 0}),
        ((1, 4, 1, 8, 8), {"tile": 2}),
    ],
)
def test_refuses_bad_latents_and_settings(vae, shape, options):
    with pytest.raises(InputError, match="expected"):
        decode_latents(vae, torch.zeros(shape), **options)


# --- encoding


def test_encoding_does_not_depend_on_the_chunks(vae):
    video = rnd("video", (2, 3, 3, 16, 24)).clamp(-1, 1)
    runs = [
        encode_video(vae, video, encode_chunk_size=n, generator=torch.Generator().manual_seed(7))
        for n in (1, 4)
    ]
    assert runs[0].shape == (2, 4, 3, 2, 3)
    assert relative_l2(runs[0], runs[1]) <= ROUNDING


def test_the_mean_of_the_posterior_is_scaled(vae):
    video = rnd("video", (1, 3, 2, 16, 16)).clamp(-1, 1)
    latents = encode_video(vae, video, sample=False)
    mean = vae.encode(video[:, :, 1]).latent_dist.mean
    assert relative_l2(latents[:, :, 1], mean * SCALE) <= ROUNDING
    assert not torch.equal(latents, encode_video(vae, video, sample=True))


def test_refuses_frames_that_are_not_multiples_of_eight(vae):
    with pytest.raises(InputError, match="20x16 pixels, expected multiples of 8"):
        encode_video(vae, torch.zeros(1, 3, 1, 16, 20))


# --- TAESD


@pytest.fixture(scope="module")
def taesd() -> AutoencoderTiny:
    torch.manual_seed(2)
    return AutoencoderTiny().eval().requires_grad_(False)


def taesd_names(decoder: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The decoder's weights as TAESD's own file names them: a clamp comes before all layers."""
    names = (key.split(".", 2) for key in decoder.state_dict())
    indices = [f"{int(index) + 1}.{rest}" for _, index, rest in names]
    return dict(zip(indices, decoder.state_dict().values(), strict=True))


@pytest.mark.parametrize("layout", ["folder", "diffusers", "original"])
def test_the_tiny_decoder_loads_from_every_layout(taesd, tmp_path, layout):
    taesd.save_pretrained(tmp_path)
    path = tmp_path / "diffusion_pytorch_model.safetensors"
    if layout == "folder":
        path = tmp_path
    if layout == "original":
        path = tmp_path / "taesd_decoder.safetensors"
        save_file(taesd_names(taesd.decoder), path)
    latents = rnd("z", (1, 4, 2, 4, 6))
    tiny = load_fast_decoder(path).requires_grad_(False)
    video = decode_latents(tiny, latents, decode_chunk_size=1)
    assert vae_scale_factor(taesd) == 8
    # TAESD takes the latents as the U-Net makes them: nothing is divided.
    assert relative_l2(video[:, :, 1], taesd.decode(latents[:, :, 1]).sample) <= ROUNDING


@pytest.mark.parametrize("size", [(13, 9), (8, 20)])
def test_without_normalisation_tiles_meet_almost_exactly(taesd, tmp_path, size):
    taesd.save_pretrained(tmp_path)
    tiny = load_fast_decoder(tmp_path).requires_grad_(False)
    latents = rnd("z", (1, 4, 1, *size))
    # Only what lies beyond a tile's edge is unknown to it (0.002 measured).
    assert relative_l2(decode_latents(tiny, latents, tile=8), decode_latents(tiny, latents)) <= 0.01


def test_refuses_a_folder_or_file_that_is_no_taesd(weights, tmp_path):
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_fast_decoder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({}))
    with pytest.raises(CheckpointError):
        load_fast_decoder(tmp_path)
    save_file(weights, tmp_path / "vae.safetensors")
    with pytest.raises(CheckpointError, match="TAESD"):
        load_fast_decoder(tmp_path / "vae.safetensors")


# --- PSNR


def test_psnr_is_of_clamped_frames_and_the_mean_error_of_all_batches():
    black, darkest, grey = torch.full((2, 3), -1.0), torch.full((2, 3), -3.0), torch.zeros(2, 3)
    assert psnr([(grey, black)]) == pytest.approx(10 * math.log10(4 / 1))
    assert psnr([(grey, black), (darkest, black)]) == pytest.approx(10 * math.log10(4 / 0.5))
    assert psnr([(black, black)]) == math.inf


# --- NaN


def test_nan_is_named_with_its_cause():
    good, bad = torch.zeros(2), torch.tensor([0.0, float("nan")])
    check_finite(good, "latents")
    with pytest.raises(NumericalError, match="U-Net produced NaN"):
        check_finite(bad, "latents")
    with pytest.raises(NumericalError, match="float16 overflows"):
        check_finite(torch.tensor([float("inf")]), "frames")
