"""Arguments of the pipeline that users of diffusers know, on random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.loras import some_lora, weights_of
from support.models import relative_l2

from hummingbird_core.errors import CheckpointError, InputError
from hummingbird_core.lora import save_lora
from hummingbird_core.offload import store_weights
from hummingbird_core.pipeline import HummingbirdPipeline
from hummingbird_core.pipeline.noise import LatentShape, draw_noise
from hummingbird_core.sampling import initial_noise, step_noises
from hummingbird_core.sampling.context_windows import ContextWindows
from hummingbird_core.training.nano.autoencoder import build_vae
from hummingbird_core.training.nano.text import build_text_encoder
from hummingbird_core.unet import HummingbirdUNet, UNetConfig

SMALL = {"width": 32, "height": 16, "num_frames": 3, "num_inference_steps": 2}
SHAPE = (1, 4, 3, 2, 4)
PROMPT = "a red circle moves right"


def random_pipeline(preset: str = "hummingbird-nano") -> HummingbirdPipeline:
    torch.manual_seed(0)
    unet = HummingbirdUNet(UNetConfig.from_preset(preset)).eval()
    return HummingbirdPipeline(unet, build_vae().eval(), build_text_encoder().eval())


@pytest.fixture(scope="module")
def pipe() -> HummingbirdPipeline:
    return random_pipeline()


@pytest.fixture(scope="module")
def teacher() -> HummingbirdPipeline:
    return random_pipeline("nano-teacher")


@pytest.fixture
def lora_file(pipe, tmp_path):
    path = tmp_path / "style.safetensors"
    save_lora(some_lora(pipe.unet), path)
    return path


# --- noise ----------------------------------------------------------------------------------------


def test_latents_are_the_starting_noise_and_set_the_size(pipe):
    expected = pipe(PROMPT, seed=3, **SMALL)
    got = pipe(PROMPT, seed=3, latents=initial_noise(SHAPE, 3), num_inference_steps=2)
    assert np.array_equal(got.frames, expected.frames)
    other = pipe(PROMPT, seed=3, latents=initial_noise(SHAPE, 4), num_inference_steps=2)
    assert not np.array_equal(other.frames, expected.frames)


def test_latents_of_a_long_video_are_used_as_they_are():
    """Noise drawn for windows is shuffled; that of the user is not."""
    windows, shape = ContextWindows.default(4, 2, keyframe_pass=False), LatentShape(1, 4, 9, 2, 2)
    noise = initial_noise(tuple(shape), 0)
    assert torch.equal(draw_noise(shape, windows, 0, None, noise).latents, noise)
    drawn = draw_noise(shape, windows, 0, None, None).latents
    assert torch.equal(drawn[:, :, :4], noise[:, :, :4])
    assert not torch.equal(drawn, noise)


def test_a_generator_draws_all_noise(pipe):
    def latents(seed: int, **changes) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return pipe(PROMPT, generator=generator, **{**SMALL, **changes}).latents

    assert torch.equal(latents(1), latents(1))
    assert not torch.equal(latents(1), latents(2))
    generator = torch.Generator().manual_seed(1)
    start, step = (torch.randn(SHAPE, generator=generator) for _ in range(2))
    with torch.no_grad():
        expected = pipe.sample(
            pipe.encode_prompt(PROMPT), latents=start, noises=[step], num_inference_steps=2
        )
    assert torch.equal(latents(1), expected)


def test_one_generator_for_each_video(pipe):
    def generators() -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in (1, 2)]

    both = pipe([PROMPT, PROMPT], generator=generators(), **SMALL)
    alone = pipe(PROMPT, generator=generators()[1], **SMALL)
    assert relative_l2(both.latents[1:], alone.latents) < 1e-4
    assert both.seeds == []


def test_sample_draws_its_own_noise(pipe):
    with torch.no_grad():
        context = pipe.encode_prompt(PROMPT)
        got = pipe.sample(context, seed=5, num_inference_steps=2)
        size = pipe.trained.height // 8, pipe.trained.width // 8
        shape = (1, 4, 16, *size)
        noise = {"latents": initial_noise(shape, 5), "noises": step_noises(shape, 5)}
        assert torch.equal(got, pipe.sample(context, num_inference_steps=2, **noise))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"latents": torch.zeros(1, 4, 3, 2, 5)}, r"got latents of shape \(1, 4, 3, 2, 5\), expe"),
        ({"latents": torch.zeros(4, 3, 2, 4)}, r"got latents of shape \(4, 3, 2, 4\), expected"),
        ({"latents": torch.zeros(2, 4, 3, 2, 4)}, r"expected \(1, 4, 3, 2, 4\)"),
        ({"seed": 1, "generator": torch.Generator()}, "got a seed and a generator, expected one"),
        ({"generator": [torch.Generator()] * 2}, "got 2 generators for 1 videos, expected one"),
        ({"output_type": "numpy"}, "got output_type 'numpy', expected one of uint8, np, pt, pil"),
        ({"negative_prompt": "blur"}, "got a negative prompt for a student, expected none"),
        ({"num_frames": 0}, "got 0 frames, expected 1 to 1,000,000"),
    ],
)
def test_bad_arguments(pipe, arguments, message):
    with pytest.raises(InputError, match=message):
        pipe(PROMPT, **{**SMALL, **arguments})


# --- prompts and callbacks ------------------------------------------------------------------------


def test_a_teacher_is_guided_away_from_the_negative_prompt(teacher):
    plain = teacher(PROMPT, **SMALL).latents
    assert torch.equal(teacher(PROMPT, negative_prompt="", **SMALL).latents, plain)
    away = teacher(PROMPT, negative_prompt="a blue square", **SMALL).latents
    assert not torch.allclose(away, plain)
    # Away from itself, guidance cancels out: cond + w (cond - cond) = cond.
    neutral = teacher(PROMPT, negative_prompt=PROMPT, **SMALL).latents
    unguided = teacher(PROMPT, guidance_scale=1.0, **SMALL).latents
    assert relative_l2(neutral, unguided) < 1e-4


def test_a_negative_prompt_for_each_prompt(teacher):
    both = teacher([PROMPT] * 2, negative_prompt=["a blue square", ""], seed=0, **SMALL).latents
    first = teacher(PROMPT, negative_prompt="a blue square", seed=0, **SMALL).latents
    assert relative_l2(both[:1], first) < 1e-4
    with pytest.raises(InputError, match="got 2 negative prompts for 3 prompts"):
        teacher([PROMPT] * 3, negative_prompt=["a", "b"], **SMALL)


@pytest.mark.parametrize("kind", ["pipe", "teacher"])
def test_a_callback_sees_every_step_and_can_change_the_latents(kind, request):
    pipe, seen = request.getfixturevalue(kind), []

    def callback(pipeline, step, timestep, tensors):
        seen.append((pipeline, step, timestep, tensors["latents"].clone()))
        return {"latents": torch.zeros_like(tensors["latents"])} if step == 1 else None

    got = pipe(PROMPT, callback_on_step_end=callback, **SMALL).latents
    assert [entry[:2] for entry in seen] == [(pipe, 0), (pipe, 1)]
    assert seen[0][2] > seen[1][2]
    assert not got.any()
    assert torch.equal(seen[1][3], pipe(PROMPT, **SMALL).latents)


# --- output ---------------------------------------------------------------------------------------


def test_output_types(pipe):
    def frames(output_type: str):
        return pipe(PROMPT, output_type=output_type, **SMALL).frames

    whole = frames("uint8")
    assert (whole.shape, whole.dtype) == ((1, 3, 16, 32, 3), np.uint8)
    assert (frames("np").shape, frames("np").dtype) == (whole.shape, np.float32)
    assert np.array_equal(np.rint(frames("np") * 255), whole)
    assert frames("pt").shape == (1, 3, 3, 16, 32)
    assert torch.equal(frames("pt").permute(0, 1, 3, 4, 2), torch.from_numpy(frames("np")))
    ((*images,),) = frames("pil")
    assert np.array_equal(np.stack(images), whole[0])
    assert torch.equal(frames("latent"), pipe(PROMPT, **SMALL).latents)


def test_long_videos_are_joined_over_time(pipe):
    long = {**SMALL, "num_frames": 35, "width": 16, "num_inference_steps": 1}
    assert pipe("a", output_type="pt", **long).frames.shape == (1, 35, 3, 16, 16)


# --- devices --------------------------------------------------------------------------------------


def test_to_moves_all_models_and_returns_the_pipeline():
    pipe = random_pipeline()
    assert pipe.to("cpu", torch.bfloat16) is pipe
    models = (pipe.unet, pipe.vae, pipe.text_encoder)
    assert {p.dtype for model in models for p in model.parameters()} == {torch.bfloat16}
    assert pipe.to(torch.float32).dtype == torch.float32
    assert pipe.to("cpu").device.type == "cpu"


def test_to_refuses_what_it_cannot_do(pipe):
    with pytest.raises(InputError, match=r"got torch.int8 for weights, expected a float type"):
        pipe.to(torch.int8)
    with pytest.raises(InputError, match="nowhere"):
        pipe.to("nowhere")


def test_weights_that_are_stored_smaller_stay_as_they_are(lora_file):
    pipe = random_pipeline()
    store_weights(pipe.unet, torch.bfloat16)
    with pytest.raises(InputError, match="got another device or dtype for a model whose weights"):
        pipe.to(torch.float16)
    with pytest.raises(InputError, match="got LoRAs for a model whose weights are streamed"):
        pipe.load_lora(lora_file)


# --- LoRAs ----------------------------------------------------------------------------------------


def test_loras_by_name(lora_file):
    pipe = random_pipeline()
    before = weights_of(pipe.unet)
    plain = pipe(PROMPT, **SMALL).latents
    assert pipe.load_lora(lora_file) == "style"
    assert pipe.load_lora(lora_file, "again", 0.5) == "again"
    assert pipe.loras == {"style": 1.0, "again": 0.5}
    assert not torch.equal(pipe(PROMPT, **SMALL).latents, plain)
    pipe.set_loras({"again": 0.7})
    assert pipe.loras == {"style": 0.0, "again": 0.7}
    pipe.set_loras({})
    assert torch.equal(pipe(PROMPT, **SMALL).latents, plain)
    pipe.set_loras({"style": 0.3, "again": -2.0})
    pipe.unload_lora("again")
    assert pipe.loras == {"style": 0.3}
    pipe.unload_lora()
    assert pipe.loras == {}
    assert all(torch.equal(value, before[key]) for key, value in weights_of(pipe.unet).items())


def test_strengths_set_again_and_again_do_not_drift(lora_file):
    pipe = random_pipeline()
    pipe.load_lora(lora_file, strength=0.1)
    once = weights_of(pipe.unet)
    for strength in (0.2, 0.3, 0.7, -0.4, 0.1):
        pipe.set_loras({"style": strength})
    now = weights_of(pipe.unet)
    torch.testing.assert_close(now, once, rtol=1e-6, atol=1e-7)


def test_loras_belong_to_the_unet_that_is_there(lora_file):
    pipe = random_pipeline()
    pipe.load_lora(lora_file)
    pipe.unet = random_pipeline().unet
    assert pipe.loras == {}
    pipe.load_lora(lora_file)


def test_bad_loras(lora_file, tmp_path):
    pipe = random_pipeline()
    pipe.load_lora(lora_file)
    with pytest.raises(InputError, match="got a second LoRA called style, expected another name"):
        pipe.load_lora(lora_file)
    with pytest.raises(InputError, match=r"got LoRA 'stile', expected a loaded one \(style\)"):
        pipe.set_loras({"stile": 1.0})
    with pytest.raises(InputError, match=r"got LoRA 'stile', expected a loaded one \(style\)"):
        pipe.unload_lora("stile")
    with pytest.raises(InputError, match="got LoRA strength nan"):
        pipe.set_loras({"style": float("nan")})
    assert pipe.loras == {"style": 1.0}
    with pytest.raises(CheckpointError, match="got no file"):
        pipe.load_lora(tmp_path / "missing.safetensors")
