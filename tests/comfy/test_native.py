"""MODEL, CLIP and VAE are ComfyUI's own kind, and compute what the plain pipeline computes."""

from __future__ import annotations

import dataclasses
import importlib

import pytest
import torch
from support.comfy.graphs import FRAMES, PROMPT
from support.comfy.native import SIZE, encode, settings
from support.models import det_state_dict, manifest, relative_l2, rnd


@pytest.fixture(scope="module")
def pipe(adapter):
    return adapter.core_pipeline.HummingbirdPipeline.from_pretrained("nano", device="cpu")


# --- the same numbers ----------------------------------------------------------------------------


def test_text_equals_the_pipelines_in_both_nodes(adapter, nano, positive, pipe):
    expected = pipe.encode_prompt(PROMPT)
    stock = nano.clip.encode_from_tokens_scheduled(nano.clip.tokenize(PROMPT))
    assert relative_l2(positive[0][0], expected) <= 1e-5
    assert relative_l2(stock[0][0], expected) <= 1e-5


def test_a_prompt_too_long_is_cut_and_reported(adapter, nano, pipe):
    long = " ".join(["red"] * 80)
    tokenized = adapter.text.tokenize(nano.clip, long)
    report = adapter.text.describe(nano.clip, tokenized)
    assert report.startswith("80 of 75 tokens")
    assert "cut off, without effect: red red red red red" in report
    got = adapter.text.encode(nano.clip, tokenized)[0][0]
    assert relative_l2(got, pipe.encode_prompt(long)) <= 1e-5


def test_emphasis_of_core_nodes_has_an_effect(nano):
    plain, strong = (
        nano.clip.encode_from_tokens_scheduled(nano.clip.tokenize(text))[0][0]
        for text in ("a red circle", "a (red:1.5) circle")
    )
    assert plain.shape == strong.shape
    assert relative_l2(strong, plain) > 1e-3


def test_vae_equals_the_pipelines(adapter, nano, pipe):
    latents = rnd("latents", (2, 4, FRAMES, 8, 8))
    expected = (pipe.decode(latents) / 2 + 0.5).clamp(0, 1).movedim(1, -1)
    got = nano.vae.decode(latents / pipe.vae.config["scaling_factor"])
    assert got.shape == (2, FRAMES, 64, 64, 3)
    assert relative_l2(got, expected) <= 1e-5
    video = got[0]
    encoded = nano.vae.encode(video) * pipe.vae.config["scaling_factor"]
    assert encoded.shape == (1, 4, FRAMES, 8, 8)
    assert relative_l2(encoded, pipe.encode_video(2 * video.movedim(-1, 0)[None] - 1)) <= 1e-5


@pytest.mark.parametrize("name", ["nano", "nano-teacher"])
def test_sample_video_gives_the_frames_of_generate(adapter, name):
    """Students by consistency sampling; teachers by DDIM, which is Euler's method in ComfyUI."""
    models = adapter.checkpoint.load_models(adapter.core_hub_local.resolve_model(name), "fp32")
    latent = adapter.sample.sample_video(
        models.model,
        encode(adapter, models, PROMPT),
        settings(adapter, steps=3, guidance=6.0),
        seed=7,
        negative=encode(adapter, models, ""),
    )
    frames = (adapter.frames.decode(models.vae, latent) * 255).round().to(torch.uint8).numpy()
    pipe = adapter.core_pipeline.HummingbirdPipeline.from_pretrained(name, device="cpu")
    expected = pipe(
        PROMPT, **SIZE, num_frames=FRAMES, num_inference_steps=3, guidance_scale=6.0, seed=7
    )
    latents = latent["samples"] * pipe.vae.config["scaling_factor"]
    assert relative_l2(latents, expected.latents) <= 1e-4
    difference = abs(frames.astype(int) - expected.frames[0].astype(int))
    assert difference.max() <= 1  # a level, where rounding falls the other way
    assert (difference > 0).mean() < 0.01


def test_a_batch_is_the_videos_of_the_following_seeds(adapter, nano, positive):
    def sample(seed: int, batch_size: int):
        empty = adapter.latents.empty_video(64, 64, FRAMES, batch_size)
        two_steps = settings(adapter)
        return adapter.sample.sample_video(nano.model, positive, two_steps, seed, latent=empty)[
            "samples"
        ]

    assert relative_l2(sample(3, 2)[1:], sample(4, 1)) <= 1e-5


def test_guidance_and_fps_of_core_nodes_reach_the_unet(adapter):
    """On random weights: how much the built-in model heeds them is another matter."""
    from hummingbird_pack.hummingbird_core.unet import HummingbirdUNet, UNetConfig

    config = UNetConfig.from_preset("hummingbird-nano")
    shapes = {key: value.shape for key, value in HummingbirdUNet(config).state_dict().items()}
    model = adapter.unet.build_model(config, det_state_dict(shapes), dtype=torch.float32).model

    def eps(**values):
        context = rnd("context", (1, 77, config.context_dim))
        conds = model.extra_conds(cross_attn=context, device=torch.device("cpu"), **values)
        arguments = {name: cond.cond for name, cond in conds.items()}
        context = arguments.pop("c_crossattn")
        x = rnd("x", (1, 4, FRAMES, 8, 8))
        return model.diffusion_model(x, torch.tensor([500.0]), context=context, **arguments)

    default = eps()
    assert relative_l2(eps(guidance=7.5, frame_rate=8), default) == 0
    assert relative_l2(eps(guidance=12.0), default) > 1e-3
    assert relative_l2(eps(frame_rate=24), default) > 1e-3


@pytest.mark.parametrize("rescales", [True, False])
def test_the_schedule_hangs_on_the_config_not_on_the_shape(adapter, rescales):
    from hummingbird_pack.hummingbird_core.unet import UNetConfig

    narrow = {"model_channels": 8, "head_channels": 4, "context_dim": 64, "norm_groups": 4}
    for change in ({}, {"num_res_blocks": 1, "middle_block": False}):  # whole, and pruned
        config = UNetConfig.from_preset("videocrafter2", **narrow, **change)
        config = dataclasses.replace(config, dynamic_rescale=rescales)
        model = adapter.unet.HummingbirdModelConfig({"config": config}).get_model({})
        assert isinstance(model.model_sampling, adapter.schedule.ScaledLatentSampling) == rescales


def test_teachers_schedule_equals_ddim_with_its_latent_scale(adapter):
    """Euler in ComfyUI on our ModelSampling against the core's DDIM, on a network that is known."""
    import comfy.k_diffusion.sampling as k_diffusion
    from hummingbird_pack.hummingbird_core.sampling.ddim import ddim_timesteps, sample_ddim
    from hummingbird_pack.hummingbird_core.unet import UNetConfig

    config = adapter.unet.HummingbirdModelConfig(
        {"config": UNetConfig.from_preset("videocrafter2")}
    )
    sampling = adapter.schedule.ScaledLatentSampling(config)
    noise = rnd("noise", (1, 4, 2, 8, 8))

    def network(x, t):
        return torch.tanh(x * (1 + t / 500))

    def denoised(x, sigma, **_):
        t = sampling.timestep(sigma)
        eps = network(sampling.calculate_input(sigma, x), t.reshape(-1, 1, 1, 1, 1))
        return sampling.calculate_denoised(sigma, eps, x)

    sigmas = sampling.sigmas[[*ddim_timesteps(20).tolist(), 0]]
    zeros = torch.zeros_like(noise)
    start = sampling.noise_scaling(sigmas[:1], noise, zeros, max_denoise=True)
    end = k_diffusion.sample_euler(denoised, start, sigmas, disable=True)
    got = end / (1 + sigmas[-1] ** 2) ** 0.5
    assert relative_l2(got, sample_ddim(network, noise, 20)) <= 1e-5


# --- ComfyUI's own machinery ---------------------------------------------------------------------


def test_the_full_size_unet_has_the_checkpoints_keys(adapter):
    """Its key names are what ComfyUI's LoRA and offload code goes by; no memory is used."""
    from hummingbird_pack.hummingbird_core.unet import UNetConfig

    unet = adapter.unet.NativeUNet(UNetConfig.from_preset("hummingbird-0.7b"), device="meta")
    prefix = "model.diffusion_model."
    assert {prefix + key for key in unet.state_dict()} == set(manifest("unet_07B_tc256"))


@pytest.mark.parametrize(("dtype", "tolerance"), [("bf16", 0.1), ("fp8_e4m3fn", 0.5)])
def test_smaller_dtypes_stay_close(adapter, nano, positive, dtype, tolerance):
    path = adapter.core_hub_local.resolve_model("nano")
    model = adapter.checkpoint.load_model(path, dtype)
    assert model.model.get_dtype() == adapter.checkpoint.WEIGHT_DTYPES[dtype]
    got, expected = (
        adapter.sample.sample_video(m, positive, settings(adapter, steps=1), 0)["samples"]
        for m in (model, nano.model)
    )
    assert relative_l2(got, expected) < tolerance


def test_lora_equals_a_merged_one_and_leaves_the_input_alone(adapter, nano, positive, tmp_path):
    import comfy.sd
    import comfy.utils

    unet = nano.model.model.diffusion_model
    targets = adapter.core_lora_formats.lora_targets(unet)
    flat = []
    for i, layer in enumerate(targets.values()):
        out, *inner = layer.weight.shape
        ones = [1] * (len(inner) - 1)
        flat += [0.1 * rnd(f"up{i}", (out, 2, *ones)), 0.1 * rnd(f"down{i}", (2, *inner))]
    path = tmp_path / "unet_lora.pt"
    torch.save(flat, path)

    def sample(model):
        steps = settings(adapter, steps=1)
        return adapter.sample.sample_video(model, positive, steps, 0)["samples"]

    before = sample(nano.model)
    patched, report = adapter.lora.apply_lora(nano.model, path, 0.5)
    with_lora = sample(patched)
    assert f"{len(targets)} layers, rank 2" in report
    assert relative_l2(with_lora, before) > 1e-2
    assert torch.equal(sample(nano.model), before)

    converted = tmp_path / "converted.safetensors"
    adapter.core_lora.convert_lora(path, converted, unet)
    stock, _ = comfy.sd.load_lora_for_models(
        nano.model, None, comfy.utils.load_torch_file(str(converted)), 0.5, 0.0
    )
    assert relative_l2(sample(stock), with_lora) <= 1e-5


def test_interrupt_is_noticed_within_one_block(adapter, nano, positive):
    import comfy.model_management as management

    unet, entered = nano.model.model.diffusion_model, []

    def interrupt(*_):
        entered.append(1)
        management.interrupt_current_processing(True)

    hooks = [block.register_forward_pre_hook(interrupt) for block in unet.input_blocks]
    try:
        with pytest.raises(management.InterruptProcessingException):
            adapter.sample.sample_video(nano.model, positive, settings(adapter), 0)
    finally:
        [hook.remove() for hook in hooks]
    assert len(entered) == 1
    adapter.sample.sample_video(nano.model, positive, settings(adapter, steps=1), 0)


def test_interrupt_is_noticed_within_one_chunk_of_the_vae(adapter, nano):
    import comfy.model_management as management

    management.interrupt_current_processing(True)
    with pytest.raises(management.InterruptProcessingException):
        nano.vae.decode(rnd("latents", (1, 4, 8, 8, 8)))
    assert nano.vae.decode(rnd("latents", (1, 4, 5, 8, 8))).shape[1] == 5


@pytest.mark.parametrize(("pixels", "chunks"), [(512, [1, 1, 1]), (64, [3])])
def test_frames_share_a_chunk_of_the_vae_where_they_are_small(nano, pixels, chunks):
    """A CPU decodes large frames one by one, in a quarter of the memory, as outside ComfyUI."""
    sizes = []
    conv_in = nano.vae.first_stage_model.decoder.conv_in
    hook = conv_in.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    try:
        nano.vae.decode(rnd("latents", (1, 4, 3, pixels // 8, pixels // 8)))
    finally:
        hook.remove()
    assert sizes == chunks


def test_full_size_text_encoder_is_the_golden_one(adapter):
    """Half the depth of ViT-H, so that it fits any machine, against the core's own encoder."""
    from hummingbird_pack.hummingbird_core.text.encoder import load_text_encoder

    prefix = "cond_stage_model.model."
    shapes = manifest("text_openclip_vit_h14")
    deep = tuple(f"{prefix}transformer.resblocks.{i}." for i in range(3, 24))
    weights = det_state_dict({k: v for k, v in shapes.items() if not k.startswith(deep)}, prefix)
    clip = adapter.text.build_clip(weights, dtype=torch.float32)
    expected = load_text_encoder(weights).encode("a fox in the snow, (painted)").embeddings
    got = adapter.text.encode(clip, adapter.text.tokenize(clip, "a fox in the snow, (painted)"))
    assert got[0][0].shape == (1, 77, 1024)
    assert relative_l2(got[0][0], expected) <= 1e-5


def test_previews_take_the_colours_that_a_checkpoint_tells(adapter, nano):
    """Stable Diffusion's would be wrong for another VAE: then rather none."""
    layout = importlib.import_module("hummingbird_pack.hummingbird_core.checkpoints.layout")
    unet = nano.model.model.diffusion_model.config
    rows = [[0.1, 0.2, 0.3]] * 5

    def latent_format(**vae):
        return adapter.checkpoint._latent_format(layout.ComponentConfigs(unet, {}, vae))

    assert latent_format().latent_rgb_factors is not None
    assert latent_format(scaling_factor=0.4).latent_rgb_factors is None
    told = latent_format(scaling_factor=0.4, preview_colours=rows)
    assert (told.latent_rgb_factors, told.latent_rgb_factors_bias) == (rows[:4], rows[4])
