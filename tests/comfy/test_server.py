"""Our nodes in a real server: the same video as `generate`, files, scores, errors, interrupts."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from comfy_install import ROOT
from comfy_server import PromptError, read_frames
from PIL import Image
from safetensors.torch import save_file
from support.comfy.graphs import (
    FRAMES,
    PROMPT,
    base,
    ksampler_graph,
    sample_video,
    sampler_custom_graph,
    saved_images,
)
from workflow_graphs import enhance, node

from hummingbird_core.vqa import DOVER


def test_all_nodes_are_there(server):
    names = [name for name in server.node_infos if name.startswith("Hummingbird")]
    assert len(names) == 15
    failed = [line for line in server.log.read_text().splitlines() if "IMPORT FAILED" in line]
    assert not [line for line in failed if "hummingbird" in line.lower()]


def test_the_graph_gives_the_frames_of_generate(server, tmp_path):
    """Sample Video and Decode in the server against the command line; also SamplerCustom."""
    ours = {
        **base(weight_dtype="fp32"),
        "sample": sample_video(),
        "decode": node("HummingbirdDecode", samples=["sample", 0], vae=["load", 2], fps=0.0),
        "save": node("SaveImage", images=["decode", 0], filename_prefix="ours"),
    }
    custom = sampler_custom_graph()
    custom["load"] = ours["load"]
    outputs = [server.run(graph) for graph in (ours, custom)]
    command = (
        f"-m hummingbird_core.cli generate --width 64 --height 64 --frames {FRAMES} --steps 4 "
        f"--guidance 7.5 --fps 8 --seed 5 --device cpu -o {tmp_path / 'frames.png'}"
    )
    subprocess.run([sys.executable, *command.split(), PROMPT], cwd=ROOT, check=True)
    expected = read_frames(sorted((tmp_path / "frames").glob("*.png")))
    for output in outputs:
        frames = server.frames(output)
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


def test_a_batch_is_saved_as_a_video_each(server):
    import av

    graph = {
        **base(),
        "sample": sample_video(steps=1, latent=["empty", 0]),
        "decode": node("HummingbirdDecode", samples=["sample", 0], vae=["load", 2], fps=0.0),
        "save": node(
            "SaveVideo", video=["decode", 1], filename_prefix="two", format="auto", codec="auto"
        ),
    }
    graph["empty"]["inputs"]["batch_size"] = 2
    files = server.output_files(server.run(graph), "save")
    assert len(files) == 2
    for file in files:
        with av.open(str(file)) as video:
            assert sum(1 for _ in video.decode(video.streams.video[0])) == FRAMES


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
        "enhance": enhance("a red circle"),
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
        "save": node(
            "SaveVideo", video=["best", 5], filename_prefix="best", format="auto", codec="auto"
        ),
    }
    graph["positive"]["inputs"]["prompt"] = ["enhance", 0]
    outputs = server.run(graph)
    assert len(server.output_files(outputs, "save")) == 1
    assert "red circle" in outputs["enhance"]["hummingbird_prompt"][0]["prompt"]
    assert sorted(take["seed"] for take in outputs["best"]["hummingbird_scores"]) == [5, 6]
    assert "motion_smoothness" in outputs["score"]["hummingbird_scores"][0]["measures"]
    assert len(server.output_files(outputs, "best")) == 1  # the contact sheet


def test_a_score_or_a_better_prompt_may_be_the_end_of_a_graph(server):
    score = node("HummingbirdVQAScore", images=["frames", 0], fps=8.0, dover="none")
    frames = node("EmptyImage", width=64, height=64, batch_size=4, color=255)
    ends = {"score": score, "enhance": enhance("a blue square")}
    graph = {"load": base()["load"], "frames": frames, **ends}
    outputs = server.run(graph)
    assert "flat" in outputs["score"]["hummingbird_scores"][0]["faults"]
    assert outputs["enhance"]["text"][0].startswith("a blue square")


def test_dovers_scores_are_numbers_for_other_nodes(server):
    """Random weights, of the smaller of the two; the file appears while the server runs."""
    folder = server.folder / "models" / "vqa"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(DOVER.from_preset("dover-mobile").state_dict(), folder / "mobile.safetensors")
    graph = {
        "frames": node("EmptyImage", width=64, height=64, batch_size=16, color=255),
        "score": node("HummingbirdVQAScore", images=["frames", 0], fps=8.0, dover="none"),
        "dover": node(
            "HummingbirdVQAScore", images=["frames", 0], fps=8.0, dover="mobile.safetensors"
        ),
        **{name: node("PreviewAny", source=[name[5:], 1]) for name in ("show score", "show dover")},
    }
    outputs = server.run(graph)
    measures = outputs["dover"]["hummingbird_scores"][0]["measures"]
    assert {"overall", "technical", "aesthetic", "flicker"} <= measures.keys()
    assert outputs["show score"]["text"] == ["nan"]
    assert float(outputs["show dover"]["text"][0]) == pytest.approx(measures["overall"])


def test_doctor_and_the_licence_of_a_download(server):
    report = server.run({"doctor": node("HummingbirdDoctor")})["doctor"]["text"][0]
    assert "comfyui" in report
    assert str(server.folder) not in report
    assert "files in checkpoints and diffusion models: " in report
    refused = node(
        "HummingbirdDownload", checkpoint="hummingbird-0.7b", accept_licence=False, convert=False
    )
    with pytest.raises(PromptError, match=r"input accept_licence: .* accept the licence"):
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
    outputs = server.run(ksampler_graph(seed=99))
    assert len(server.output_files(outputs, "save")) == FRAMES


def test_fifty_prompts_in_a_row_do_not_leak(server):
    sizes = []
    for seed in range(50):
        sample = {"sample": sample_video(seed=seed, steps=1)}
        server.run({**base(), **sample, **saved_images(["sample", 0])})
        sizes.append(server.resident_bytes())
    assert sizes[-1] < 1.05 * sizes[9]


def test_two_checkpoints_alternated_do_not_leak(server):
    sizes = []
    for i in range(20):
        checkpoint = ("nano (built in)", "nano-teacher (built in)")[i % 2]
        sample = {"sample": sample_video(seed=i, steps=1, negative=["negative", 0])}
        server.run({**base(checkpoint), **sample, **saved_images(["sample", 0])})
        sizes.append(server.resident_bytes())
    assert sizes[-1] < 1.05 * sizes[5]
