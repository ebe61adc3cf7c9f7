"""Our objects in ComfyUI's own nodes, in a real server: the graphs that people build."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from comfy_graphs import FRAMES, PROMPT, base, ksampler, node, sample_video, saved_images
from comfy_install import ROOT
from comfy_server import PromptError
from PIL import Image
from safetensors.torch import save_file

LONG = 12  # frames, for windows of 8


def _frames(files: list[Path]) -> np.ndarray:
    return np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])


def _ksampler_graph(model: list | None = None, frames: int = FRAMES, **changes) -> dict:
    sampler = ksampler(model or ["load", 0], ["empty", 0], **changes)
    return {**base(frames=frames), "sample": sampler, **saved_images(["sample", 0])}


def _with_model_node(class_type: str, **inputs) -> dict:
    changed = {"changed": node(class_type, model=["load", 0], **inputs)}
    return {**_ksampler_graph(["changed", 0]), **changed}


def _with_conditioning_node(class_type: str, **inputs) -> dict:
    graph = _ksampler_graph(positive=["changed", 0])
    return {**graph, "changed": node(class_type, **inputs)}


def _batch_of_two() -> dict:
    graph = _ksampler_graph(sampler_name="euler", cfg=7.5)
    graph["empty"]["inputs"]["batch_size"] = 2
    return graph


def _sampler_custom() -> dict:
    custom = node(
        "SamplerCustom",
        model=["load", 0],
        add_noise=True,
        noise_seed=5,
        cfg=1.0,
        positive=["positive", 0],
        negative=["negative", 0],
        sampler=["sampler", 0],
        sigmas=["sigmas", 0],
        latent_image=["empty", 0],
    )
    return {
        **base(),
        "sampler": node("HummingbirdSampler"),
        "sigmas": node("HummingbirdSigmas", steps=4, strength=1.0),
        "sample": custom,
        **saved_images(["sample", 0]),
    }


def _sampler_custom_advanced() -> dict:
    return {
        **base(),
        "noise": node("RandomNoise", noise_seed=1),
        "guider": node("BasicGuider", model=["load", 0], conditioning=["positive", 0]),
        "sampler": node("KSamplerSelect", sampler_name="dpmpp_2m"),
        "sigmas": node(
            "BasicScheduler", model=["load", 0], scheduler="simple", steps=2, denoise=1.0
        ),
        "sample": node(
            "SamplerCustomAdvanced",
            noise=["noise", 0],
            guider=["guider", 0],
            sampler=["sampler", 0],
            sigmas=["sigmas", 0],
            latent_image=["empty", 0],
        ),
        **saved_images(["sample", 0]),
    }


def _context_windows() -> dict:
    windows = node(
        "ContextWindowsManual",
        model=["load", 0],
        context_length=8,
        context_overlap=4,
        context_schedule="standard_static",
        context_stride=1,
        closed_loop=False,
        fuse_method="pyramid",
        dim=2,
    )
    return {**_ksampler_graph(["changed", 0], frames=LONG), "changed": windows}


def _decode_with(class_type: str, **inputs) -> dict:
    graph = _ksampler_graph()
    graph["decode"] = node(class_type, samples=["sample", 0], vae=["load", 2], **inputs)
    return graph


def _there_and_back() -> dict:
    """Frames through VAE Encode, a weak KSampler and VAE Decode: video to video."""
    graph = _ksampler_graph(denoise=0.5)
    graph["empty"] = node("VAEEncode", pixels=["frames", 0], vae=["load", 2])
    graph["frames"] = node("EmptyImage", width=64, height=64, batch_size=FRAMES, color=255)
    return graph


GRAPHS = {
    "lcm": (_ksampler_graph(), FRAMES),
    "euler, cfg 7.5": (_ksampler_graph(sampler_name="euler", cfg=7.5), FRAMES),
    "batch of two": (_batch_of_two(), 2 * FRAMES),
    "SamplerCustom": (_sampler_custom(), FRAMES),
    "SamplerCustomAdvanced": (_sampler_custom_advanced(), FRAMES),
    "ModelSamplingDiscrete": (
        _with_model_node("ModelSamplingDiscrete", sampling="lcm", zsnr=False),
        FRAMES,
    ),
    "LoraLoaderModelOnly": (
        _with_model_node("LoraLoaderModelOnly", lora_name="lora.safetensors", strength_model=1.0),
        FRAMES,
    ),
    "FluxGuidance": (
        _with_conditioning_node("FluxGuidance", conditioning=["positive", 0], guidance=14.0),
        FRAMES,
    ),
    "LTXVConditioning": (
        _with_conditioning_node(
            "LTXVConditioning", positive=["positive", 0], negative=["negative", 0], frame_rate=24.0
        ),
        FRAMES,
    ),
    "Context Windows": (_context_windows(), LONG),
    "VAEDecodeTiled": (
        _decode_with(
            "VAEDecodeTiled", tile_size=64, overlap=32, temporal_size=64, temporal_overlap=8
        ),
        FRAMES,
    ),
    "VAEEncode": (_there_and_back(), FRAMES),
}


@pytest.fixture(scope="module", autouse=True)
def lora_file(server):
    """A LoRA in ComfyUI's names on a Linear, a Conv2d and a Conv3d of the built-in model."""
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "time_embed.0": ((128, 2), (2, 32)),
        "input_blocks.0.0": ((32, 2, 1, 1), (2, 4, 3, 3)),
        "input_blocks.1.0.temopral_conv.conv1.2": ((32, 2, 1, 1, 1), (2, 32, 3, 1, 1)),
    }
    tensors = {}
    for name, (up, down) in shapes.items():
        key = f"diffusion_model.{name}"
        tensors[f"{key}.lora_up.weight"] = torch.randn(up, generator=generator)
        tensors[f"{key}.lora_down.weight"] = torch.randn(down, generator=generator)
    folder = server.folder / "models" / "loras"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "lora.safetensors")


@pytest.fixture(scope="module")
def plain_frames(server):
    """What the plain graph gives: a LoRA or a frame rate must change it."""
    return _frames(server.output_files(server.run(GRAPHS["lcm"][0]), "save"))


def test_all_nodes_are_there(server):
    names = [name for name in server.node_infos if name.startswith("Hummingbird")]
    assert len(names) == 14
    assert "hummingbird" not in server.log.read_text().partition("IMPORT FAILED")[2]


@pytest.mark.parametrize("name", GRAPHS)
def test_core_nodes_give_as_many_frames_as_asked_for(server, name):
    graph, expected = GRAPHS[name]
    frames = _frames(server.output_files(server.run(graph), "save"))
    assert frames.shape == (expected, 64, 64, 3)
    assert frames.std() > 1


@pytest.mark.parametrize("name", ["LoraLoaderModelOnly", "LTXVConditioning"])
def test_what_core_nodes_set_has_an_effect(server, plain_frames, name):
    frames = _frames(server.output_files(server.run(GRAPHS[name][0]), "save"))
    assert not np.array_equal(frames, plain_frames)


def test_the_graph_gives_the_frames_of_generate(server, tmp_path):
    """Sample Video and Decode in the server against the command line; also SamplerCustom."""
    ours = {
        **base(weight_dtype="fp32"),
        "sample": sample_video(),
        "decode": node("HummingbirdDecode", samples=["sample", 0], vae=["load", 2], fps=0.0),
        "save": node("SaveImage", images=["decode", 0], filename_prefix="ours"),
    }
    custom = _sampler_custom()
    custom["load"] = ours["load"]
    outputs = [server.run(graph) for graph in (ours, custom)]
    command = (
        f"-m hummingbird_core.cli generate --width 64 --height 64 --frames {FRAMES} --steps 4 "
        f"--guidance 7.5 --fps 8 --seed 5 --device cpu -o {tmp_path / 'frames.png'}"
    )
    subprocess.run([sys.executable, *command.split(), PROMPT], cwd=ROOT, check=True)
    expected = _frames(sorted((tmp_path / "frames").glob("*.png")))
    for output in outputs:
        frames = _frames(server.output_files(output, "save"))
        # Save Image cuts off what generate rounds.
        assert abs(frames.astype(int) - expected.astype(int)).max() <= 1


def test_videos_can_be_saved_by_core_nodes(server):
    import av

    graph = {
        **base(),
        "sample": sample_video(fps=12.0),
        "decode": node("HummingbirdDecode", samples=["sample", 0], vae=["load", 2], fps=0.0),
        "ours": node(
            "SaveVideo", video=["decode", 1], filename_prefix="ours", format="auto", codec="auto"
        ),
        "created": node("CreateVideo", images=["decode", 0], fps=12.0),
        "core": node(
            "SaveVideo", video=["created", 0], filename_prefix="core", format="mp4", codec="h264"
        ),
        "webm": node(
            "SaveWEBM",
            images=["decode", 0],
            filename_prefix="webm",
            codec="vp9",
            fps=12.0,
            crf=32.0,
        ),
        "webp": node(
            "SaveAnimatedWEBP",
            images=["decode", 0],
            filename_prefix="webp",
            fps=12.0,
            lossless=True,
            quality=80,
            method="default",
        ),
    }
    outputs = server.run(graph)
    for name in ("ours", "core", "webm"):
        with av.open(str(server.output_files(outputs, name)[0])) as video:
            stream = video.streams.video[0]
            assert round(float(stream.average_rate), 3) == 12.0
            assert sum(1 for _ in video.decode(stream)) == FRAMES
    with Image.open(server.output_files(outputs, "webp")[0]) as image:
        assert image.n_frames == FRAMES


def test_many_prompts_make_many_videos(server):
    graph = {
        **base(),
        "prompts": node("HummingbirdPromptList", prompts="a red circle\n\na blue square\n"),
        "sample": sample_video(steps=1),
        **saved_images(["sample", 0]),
    }
    graph["positive"]["inputs"]["prompt"] = ["prompts", 0]
    assert len(server.output_files(server.run(graph), "save")) == 2 * FRAMES


def test_enhancing_scoring_and_the_best_of_several_seeds(server):
    graph = {
        **base(),
        "enhance": node(
            "HummingbirdEnhancePrompt",
            clip=["load", 1],
            prompt="a red circle",
            source="builtin",
            language_model="",
            url="http://localhost:11434/v1",
            seed=0,
        ),
        "best": node(
            "HummingbirdBestOfN",
            vae=["load", 2],
            count=2,
            metric="auto",
            threshold=0.0,
            dover="none",
            **{k: v for k, v in sample_video(steps=1)["inputs"].items() if k != "strength"},
        ),
        "score": node("HummingbirdVQAScore", images=["best", 0], fps=8.0, dover="none"),
        "save": node("SaveImage", images=["score", 0], filename_prefix="best"),
    }
    graph["positive"]["inputs"]["prompt"] = ["enhance", 0]
    outputs = server.run(graph)
    assert len(server.output_files(outputs, "save")) == FRAMES
    assert "red circle" in outputs["enhance"]["hummingbird_prompt"][0]["prompt"]
    assert sorted(take["seed"] for take in outputs["best"]["hummingbird_scores"]) == [5, 6]
    assert "motion_smoothness" in outputs["score"]["hummingbird_scores"][0]["measures"]
    assert len(server.output_files(outputs, "best")) == 1  # the contact sheet


def test_doctor_and_the_licence_of_a_download(server):
    report = server.run({"doctor": node("HummingbirdDoctor")})["doctor"]["text"][0]
    assert "comfyui" in report
    assert str(server.folder) not in report
    refused = node(
        "HummingbirdDownload", checkpoint="hummingbird-0.7b", accept_licence=False, convert=False
    )
    with pytest.raises(PromptError, match="accept the licence"):
        server.run({"download": refused})


def test_errors_name_the_input_to_change(server):
    image = node("EmptyLatentImage", width=64, height=64, batch_size=1)
    graph = {**base(), "image": image, "sample": sample_video(latent=["image", 0])}
    with pytest.raises(PromptError, match="input latent: got shape"):
        server.run({**graph, **saved_images(["sample", 0])})
    unknown = {**base(checkpoint="no such file"), "sample": sample_video()}
    with pytest.raises(PromptError, match="checkpoint"):
        server.run({**unknown, **saved_images(["sample", 0])})


def test_after_an_interrupt_the_next_prompt_runs(server):
    slow = {**base(), "sample": sample_video(frames=64, steps=50), **saved_images(["sample", 0])}
    prompt_id = server.queue(slow)
    while not server.get("/queue")["queue_running"]:
        time.sleep(0.05)
    server.post("/interrupt")
    messages = [message[0] for message in server.wait(prompt_id)["status"]["messages"]]
    assert "execution_interrupted" in messages
    outputs = server.run(_ksampler_graph(seed=99))
    assert len(server.output_files(outputs, "save")) == FRAMES


@pytest.mark.slow
def test_fifty_prompts_in_a_row_do_not_leak(server):
    sizes = []
    for seed in range(50):
        sample = {"sample": sample_video(seed=seed, steps=1)}
        server.run({**base(), **sample, **saved_images(["sample", 0])})
        sizes.append(server.resident_bytes())
    assert sizes[-1] < 1.05 * sizes[9]


@pytest.mark.slow
def test_two_checkpoints_alternated_do_not_leak(server):
    sizes = []
    for i in range(20):
        checkpoint = ("nano (built in)", "nano-teacher (built in)")[i % 2]
        sample = {"sample": sample_video(seed=i, steps=1, negative=["negative", 0])}
        server.run({**base(checkpoint), **sample, **saved_images(["sample", 0])})
        sizes.append(server.resident_bytes())
    assert sizes[-1] < 1.05 * sizes[5]
