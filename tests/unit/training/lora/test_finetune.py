"""Style LoRAs from a folder: what each kind of step asks for, exact resume, the written file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.loras import LAYER as TEMPORAL_LAYER
from support.loras import nano

pytest.importorskip("peft", reason="needs the extra train")
pytest.importorskip("accelerate", reason="needs the extra train")

from hummingbird_core.errors import InputError, OutputError
from hummingbird_core.lora import load_lora
from hummingbird_core.lora.layers import inject_lora, lora_from_peft, new_lora
from hummingbird_core.pipeline import HummingbirdPipeline
from hummingbird_core.training.data.batch import ClipBatch
from hummingbird_core.training.data.latent_cache import CachedClip
from hummingbird_core.training.distillation.noise import grid_timesteps
from hummingbird_core.training.loop.micro_batch import MicroBatch
from hummingbird_core.training.lora.finetune import (
    LoRAFinetuneConfig,
    clip_sources,
    encode_source,
    finetune_lora,
    run_hash,
)
from hummingbird_core.training.lora.losses import (
    NEXT_TIMESTEPS,
    Captions,
    StudentLoss,
    TeacherLoss,
    without_lora,
)
from hummingbird_core.training.nano.text import CONTEXT_DIM
from hummingbird_core.video import write_video

FRAMES = 4
TINY = LoRAFinetuneConfig("zorblax", 4, 3, 2e-3, 2, FRAMES, 16, 16)


class SomeClips:
    """Four clips of noise; like the real sources, the same for any number of processes."""

    def batch(self, step, *, size, rank=0, world_size=1):
        numbers = range((step * world_size + rank) * size, (step * world_size + rank + 1) * size)
        generators = [torch.Generator().manual_seed(n) for n in numbers]
        latents = torch.stack([torch.randn(4, FRAMES, 2, 2, generator=g) for g in generators])
        captions = [f"zorblax clip {n % 4}" for n in numbers]
        return ClipBatch(latents, captions, torch.full((size,), 8.0))


def captions(trigger: str = "zorblax") -> Captions:
    texts = ["", *(f"{word}clip {n}" for n in range(4) for word in ("", "zorblax "))]
    generator = torch.Generator().manual_seed(0)
    return Captions(
        {text: torch.randn(77, CONTEXT_DIM, generator=generator) for text in texts}, trigger
    )


def with_lora(preset: str, up: float = 0.0):
    """A U-Net with a LoRA whose upward weights are all `up`; 0 is the start of training."""
    unet = nano(preset)
    lora = new_lora(unet, 2, 2, torch.Generator().manual_seed(0))
    for weight in lora.weights.values():
        weight.up.fill_(up)
    inject_lora(unet, lora)
    return unet


def student_loss(up: float = 0.0, trigger: str = "zorblax") -> StudentLoss:
    unet = with_lora("hummingbird-nano", up)
    return StudentLoss(unet, SomeClips(), captions(trigger), FRAMES)


def teacher_loss(up: float = 0.0) -> TeacherLoss:
    return TeacherLoss(with_lora("nano-teacher", up), SomeClips(), captions())


def terms(loss, count: int) -> list[str]:
    with torch.no_grad():
        return [name for step in range(count) for name in loss(MicroBatch(seed=0, step=step))]


def test_the_kinds_of_steps():
    student = ["learn", "refine", "learn", "keep"]
    assert terms(student_loss(), 5) == [*student, "learn"]
    assert terms(student_loss(trigger=""), 4) == [*student[:3], "learn"]
    assert terms(teacher_loss(), 4) == ["noise", "noise", "keep", "noise"]


@pytest.mark.parametrize(
    "kind",
    [student_loss, lambda up: TeacherLoss(with_lora("nano-teacher", up), SomeClips(), captions())],
)
def test_a_lora_that_changes_nothing_keeps_everything(kind):
    keep = {"hummingbird-nano": 3, "nano-teacher": 2}
    with torch.no_grad():
        for up, is_kept in ((0.0, True), (0.01, False)):
            loss = kind(up)
            value = loss(MicroBatch(seed=0, step=keep[loss.unet.config.preset]))["keep"]
            assert (value == 0) == is_kept


def test_without_lora_is_the_base_model_and_only_meanwhile():
    unet, base = with_lora("hummingbird-nano", 0.05), nano("hummingbird-nano")
    inputs = torch.randn(1, 4, 2, 8, 8), 500, torch.randn(1, 77, CONTEXT_DIM)
    with torch.no_grad():
        changed = unet(*inputs)
        with without_lora(unet):
            assert torch.equal(unet(*inputs), base(*inputs))
        assert torch.equal(unet(*inputs), changed)
    assert not torch.equal(changed, base(*inputs))
    assert all(weight.scale == 1 for weight in lora_from_peft(unet).weights.values())


@pytest.mark.parametrize("step", range(4))
def test_processes_share_the_loss_of_a_step(step):
    loss = student_loss(0.01)
    with torch.no_grad():
        (whole,) = loss(MicroBatch(seed=1, step=step, size=4)).values()
        parts = [loss(MicroBatch(seed=1, step=step, index=i, count=2, size=2)) for i in range(2)]
    (first,), (second,) = (part.values() for part in parts)
    torch.testing.assert_close((first + second) / 2, whole)


@pytest.mark.parametrize(
    ("kind", "step"), [(student_loss, 0), (student_loss, 1), (student_loss, 3), (teacher_loss, 2)]
)
def test_gradients_reach_the_whole_lora_and_nothing_else(kind, step):
    loss = kind(0.01)
    with torch.autocast("cpu", torch.bfloat16):  # which caches weights that it has cast
        (term,) = loss(MicroBatch(seed=1, step=step)).values()
    term.backward()
    with_gradient = {name for name, p in loss.unet.named_parameters() if p.grad is not None}
    expected = {name for name, p in loss.unet.named_parameters() if p.requires_grad}
    assert all(".lora_" in name for name in expected)
    assert with_gradient == expected


def test_timesteps_are_those_that_students_sample_with():
    u = torch.linspace(0, 1 - 1e-6, 1000)
    assert grid_timesteps(u).unique().tolist() == [*range(19, 1000, 20)]
    assert grid_timesteps(u, *NEXT_TIMESTEPS).unique().tolist() == [*range(499, 880, 20)]


def test_captions_lose_the_trigger_only_at_the_front():
    told = captions()
    plain = told.embed(["zorblax clip 1", "", "clip 2"], 16, with_trigger=False)
    assert torch.equal(plain, told.embed(["clip 1", "", "clip 2"], 16))
    assert not torch.equal(plain[:1], told.embed(["zorblax clip 1"], 16))


def test_captions_with_times_have_an_embedding_for_each_frame():
    told = captions()
    timed = ["0: zorblax clip 1; 8: zorblax clip 2", ""]
    first, last = told.embed(timed, 16)[0, [0, 15]]
    assert torch.equal(first, told.embed(["zorblax clip 1"], 16)[0])
    assert torch.equal(last, told.embed(["zorblax clip 2"], 16)[0])
    plain = told.embed(timed, 16, with_trigger=False)
    assert torch.equal(plain[0, 15], told.embed(["clip 2"], 16)[0])


# --- the whole way -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def style(tmp_path_factory):
    folder = tmp_path_factory.mktemp("style")
    for i in range(2):
        frames = np.zeros((6, 20, 20, 3), np.uint8)
        frames[:, 4 + 4 * i : 12, 4:12] = 255
        write_video(folder / f"clip {i}.mp4", frames, 8)
    (folder / "clip 0.txt").write_text("a square", encoding="utf-8")
    (folder / "broken.mp4").write_bytes(b"")
    return folder


def pipe(model: str = "nano") -> HummingbirdPipeline:
    return HummingbirdPipeline.from_pretrained(model, device="cpu", dtype=torch.float32)


def test_stopped_and_gone_on_equals_in_one_go(style, tmp_path):
    whole = finetune_lora(style, pipe(), tmp_path / "a.safetensors", TINY)
    output = tmp_path / "b.safetensors"
    finetune_lora(style, pipe(), output, replace(TINY, steps=2))
    resumed = finetune_lora(style, pipe(), output, TINY, overwrite=True)
    assert all(
        torch.equal(weight.up, resumed.weights[name].up) for name, weight in whole.weights.items()
    )
    written = load_lora(output, nano("hummingbird-nano"))
    assert not written.unused
    assert written.weights.keys() == whole.weights.keys()
    assert any(weight.up.any() for weight in written.weights.values())
    with pytest.raises(OutputError, match="exists"):
        finetune_lora(style, pipe(), output, TINY)


def test_another_run_is_told_from_a_longer_one():
    student = nano("hummingbird-nano")
    clip = CachedClip("a.mp4", "zorblax a bar", Path("ab/abc.safetensors"), 6, 8.0)
    key = run_hash(student, TINY, [clip])
    assert key == run_hash(student, replace(TINY, steps=99), [clip])
    assert key == run_hash(student, TINY, [replace(clip, path=Path("elsewhere/abc.safetensors"))])
    others = [
        [],
        [replace(clip, name="b.mp4")],
        [replace(clip, caption="zorblax a car")],
        [replace(clip, path=Path("ab/abd.safetensors"))],
    ]
    assert all(key != run_hash(student, TINY, other) for other in others)
    assert key != run_hash(student, replace(TINY, trigger="other"), [clip])
    student.out[2].weight.data.mul_(1.01)
    assert key != run_hash(student, TINY, [clip])


def test_other_clips_are_learned_anew(tmp_path):
    """The old LoRA was written again, at once."""
    source, output = tmp_path / "clips", tmp_path / "a.safetensors"
    one_step = replace(TINY, steps=1)
    loras = []
    for grey in (0, 200):
        write_video(source / "clip.mp4", np.full((6, 20, 20, 3), grey, np.uint8), 8)
        loras.append(finetune_lora(source, pipe(), output, one_step, overwrite=True).weights)
    old, new = loras
    assert not all(torch.equal(old[name].up, new[name].up) for name in old)


def test_pictures_train_the_layers_of_single_frames(tmp_path):
    for i in range(2):
        Image.new("RGB", (30, 20), (200, 30 * i, 0)).save(tmp_path / f"{i}.png")
    lora = finetune_lora(
        tmp_path, pipe("nano-teacher"), tmp_path / "a.safetensors", replace(TINY, steps=1)
    )
    everything = new_lora(nano("nano-teacher"), 4, 4).weights.keys()
    left_out = everything - lora.weights.keys()
    assert "input_blocks.1.0.in_layers.2" in lora.weights
    assert TEMPORAL_LAYER in left_out
    assert all("temopral" in name or ".2." in name or "init_attn" in name for name in left_out)


def test_clips_and_pictures_take_turns_and_the_batch_stays(style, tmp_path):
    """One picture beside the clips made all batches as small as itself."""
    for path in style.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    Image.new("RGB", (30, 20)).save(tmp_path / "one.png")
    cached = encode_source(tmp_path, pipe().vae, tmp_path / "latents", TINY)
    films, pictures = clip_sources(cached, TINY, 0.0)
    assert films.batch(0, size=3).latents.shape == (3, 4, FRAMES, 2, 2)
    assert pictures.batch(0, size=3).latents.shape == (3, 4, 1, 2, 2)
    lora = finetune_lora(tmp_path, pipe(), tmp_path / "a.safetensors", replace(TINY, batch=3))
    assert TEMPORAL_LAYER in lora.weights


def test_what_cannot_be_learned_is_refused(style, tmp_path):
    output = tmp_path / "a.safetensors"
    Image.new("RGB", (30, 20)).save(tmp_path / "silent.png")
    with pytest.raises(InputError, match="--trigger"):
        finetune_lora(tmp_path, pipe(), output, replace(TINY, trigger=""))
    with pytest.raises(InputError, match="fewer than 9 frames"):
        finetune_lora(style, pipe(), output, replace(TINY, num_frames=9))
    with pytest.raises(InputError, match=r"\.safetensors"):
        finetune_lora(style, pipe(), tmp_path / "a.pt", TINY)
    with pytest.raises(InputError, match="rank"):
        replace(TINY, rank=0)
    assert not output.exists()
