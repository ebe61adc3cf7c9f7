"""Decoders pruned from a full one: what is kept, what distilling gains, and the built-in one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers.models import AutoencoderKL, AutoencoderTiny
from support.command_line import error_of, run
from support.models import relative_l2, rnd, tiny_vae

from hummingbird_core.checkpoints import load_checkpoint
from hummingbird_core.errors import CheckpointError, InputError
from hummingbird_core.hub.local import resolve_model
from hummingbird_core.nano.world.stream import single_frames
from hummingbird_core.training.data.single_frames import VideoFrames, open_frames
from hummingbird_core.training.loop.config import TrainConfig
from hummingbird_core.training.nano.autoencoder import build_vae
from hummingbird_core.training.tiny_decoder.distil import (
    distil_decoder,
    held_out_frames,
    psnr_against,
    save_decoder,
)
from hummingbird_core.training.tiny_decoder.prune import prune_decoder
from hummingbird_core.vae import decode_latents
from hummingbird_core.vae.tiny import (
    built_in_decoder,
    check_decoder_fits,
    find_decoder,
    load_fast_decoder,
)
from hummingbird_core.video import write_video


@pytest.fixture
def full() -> AutoencoderKL:
    torch.manual_seed(0)
    return tiny_vae().requires_grad_(False)


def test_pruning_nothing_but_attention_keeps_the_function(full):
    full.decoder.mid_block.attentions[0] = None
    same = prune_decoder(full, 1, full.config["layers_per_block"])
    z = rnd("z", (1, 4, 4, 4))
    with torch.no_grad():
        assert torch.equal(same.decode(z).sample, full.decode(z).sample)


def test_the_strongest_groups_are_kept(full):
    conv = full.decoder.conv_in  # 16 channels in 4 groups
    conv.weight[4:8] *= 100
    conv.weight[12:] *= 50
    small = prune_decoder(full, 2, 0)
    kept = [*range(4, 8), *range(12, 16)]
    assert torch.equal(small.decoder.conv_in.weight, conv.weight[kept])
    first = small.decoder.mid_block.resnets[0]
    assert first.norm1.num_groups == 2
    assert torch.equal(first.norm1.weight, full.decoder.mid_block.resnets[0].norm1.weight[kept])
    assert small.config["block_out_channels"] == (4, 4, 8, 8)


def test_distilling_gains_and_a_stopped_run_goes_on(full, tmp_path):
    small = prune_decoder(full, 2, 0)
    pictures = held_out_frames(single_frames, 2)
    before = psnr_against(full, small, pictures)
    for steps in (4, 8):
        trained = distil_decoder(
            full,
            small,
            single_frames,
            TrainConfig(steps, 1e-2, batch=2, ema_decay=0.5),
            tmp_path,
        )
    assert psnr_against(full, trained, pictures) > before + 1
    assert torch.load(tmp_path / "decoder.state.pt", weights_only=True)["step"] == 8


def test_a_saved_decoder_loads_and_decodes_videos(full, tmp_path):
    small = prune_decoder(full, 2, 0)
    path = tmp_path / "fast.safetensors"
    save_decoder(path, small, psnr=20.0, license="Apache-2.0")
    latents = rnd("z", (1, 4, 2, 4, 6))
    with torch.no_grad():
        video = decode_latents(load_fast_decoder(path), latents)
        expected = small.decode(latents[:, :, 1] / small.config["scaling_factor"]).sample
    assert video.shape == (1, 3, 2, 32, 48)
    assert relative_l2(video[:, :, 1], expected) <= 2e-3  # stored in fp16


def test_impossible_shapes_and_missing_files_are_refused(full, tmp_path):
    with pytest.raises(InputError, match="a divisor of 4"):
        prune_decoder(full, 3, 0)
    with pytest.raises(InputError, match="0 to 1 layers"):
        prune_decoder(full, 2, 2)
    with pytest.raises(InputError, match="with 0 videos"):
        open_frames(tmp_path)
    with pytest.raises(CheckpointError, match="expected full, middle, tiny"):
        find_decoder(tmp_path / "none.safetensors")


def test_a_decoder_of_another_model_is_refused(full):
    """Its latents are scaled otherwise, and the frames would be wrong in silence."""
    small = prune_decoder(full, 2, 0)
    check_decoder_fits(small, full)
    full.register_to_config(scaling_factor=2 * full.config["scaling_factor"])
    with pytest.raises(InputError, match="made from its VAE, or TAESD"):
        check_decoder_fits(small, full)
    check_decoder_fits(AutoencoderTiny(), full)


def test_the_middle_decoder_of_the_built_in_model_keeps_half_of_the_widths():
    small = prune_decoder(build_vae(), 2, 0)
    assert tuple(small.config["block_out_channels"]) == (32, 32, 32, 64)


@pytest.mark.skipif(built_in_decoder("middle").exists(), reason="it has been trained")
def test_a_built_in_decoder_that_was_not_trained_says_how_to_make_it():
    with pytest.raises(CheckpointError, match="see `hummingbird train decoder --help`"):
        find_decoder("middle")


def grey_video(path, grey: int):
    write_video(path, np.full((2, 32, 48, 3), grey, np.uint8), 8)
    return path


def test_frames_come_from_videos_too(tmp_path):
    for i in range(25):
        grey_video(tmp_path / f"{i}.mp4", 10 * i)
    training, held_out = open_frames(tmp_path)
    assert (len(training.files), len(held_out.files)) == (23, 2)
    assert not set(training.files) & set(held_out.files)
    crops = training([0, 1])
    assert crops.shape == (2, 3, 256, 256)
    assert crops.min() >= -1.01
    assert torch.equal(training([1]), crops[1:])
    assert training(range(8)).mean(dim=(1, 2, 3)).unique().numel() > 4


def test_a_broken_video_costs_itself_only(tmp_path, caplog):
    """It ended the training, and every new start came to the same step again."""
    empty = tmp_path / "empty.mp4"
    empty.write_bytes(b"")
    files = [empty, grey_video(tmp_path / "good.mp4", 100)]
    frames = VideoFrames(files)
    whole = frames(range(8))
    assert whole.shape == (8, 3, 256, 256)
    assert caplog.text.count("1 videos left out so far") == 1
    assert "empty.mp4" in caplog.text
    assert torch.equal(VideoFrames(files)(range(4, 8)), whole[4:])
    with pytest.raises(InputError, match="none can be used"):
        VideoFrames([empty])([0])


def test_the_command_makes_a_decoder_in_a_new_folder(tmp_path, capsys):
    output = tmp_path / "new" / "fast.safetensors"
    arguments = ("--steps", 3, "--batch", 1, "--folder", tmp_path / "run", "-o", output)
    arguments += ("--save-every", 1, "--keep-last", 1)
    code, out, _ = run(capsys, "train", "decoder", *arguments)
    assert code == 0
    assert "PSNR against the full decoder" in out
    assert load_fast_decoder(output).config["block_out_channels"] == [16, 16, 16, 32]
    (snapshot,) = (tmp_path / "run" / "checkpoints").iterdir()
    assert snapshot.name == "step-000002.safetensors"
    weights = load_fast_decoder(snapshot).state_dict()
    trained = load_fast_decoder(output).state_dict()
    assert weights.keys() == trained.keys()
    assert any(not torch.equal(weights[name], trained[name]) for name in weights)
    assert "exists already" in error_of(capsys, "train", "decoder", *arguments)
    assert run(capsys, "train", "decoder", *arguments, "--overwrite")[0] == 0


@pytest.mark.parametrize(("kind", "least"), [("tiny", 25), ("middle", 30)])
def test_a_built_in_decoder_belongs_to_the_built_in_model(kind, least):
    """Fails when the model was made again without `hummingbird train decoder`."""
    if not built_in_decoder(kind).exists():
        pytest.skip("hummingbird train decoder: not run")
    full = load_checkpoint(resolve_model("nano"), dtype=torch.float32).vae
    frames = held_out_frames(single_frames, 8)
    assert psnr_against(full, load_fast_decoder(kind), frames) >= least
