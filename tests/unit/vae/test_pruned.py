"""A pruned decoder without diffusers is the one with it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from support.models import relative_l2, rnd, tiny_vae
from support.paths import ROOT

from hummingbird_core.errors import CheckpointError
from hummingbird_core.training.tiny_decoder.distil import save_decoder
from hummingbird_core.training.tiny_decoder.prune import prune_decoder
from hummingbird_core.vae.pruned import load_pruned_decoder
from hummingbird_core.vae.tiny import built_in_decoder, load_fast_decoder

BUILT_IN = built_in_decoder("tiny")


@pytest.fixture
def file(tmp_path):
    """Two blocks a level, and a width that changes; the built-in ones have one block."""
    torch.manual_seed(0)
    full = tiny_vae(16, 32)
    path = tmp_path / "small.safetensors"
    save_decoder(path, prune_decoder(full, 2, 1), psnr=1.0, license="")
    return path


@torch.inference_mode()
def test_it_decodes_as_diffusers_does(file):
    for path in filter(lambda path: path.exists(), (file, BUILT_IN)):
        latents = rnd("latents", (2, 4, 6, 8))
        expected = load_fast_decoder(path).decode(latents).sample
        assert relative_l2(load_pruned_decoder(path)(latents), expected) < 1e-5


def test_it_needs_no_diffusers(file):
    code = f"""
import sys
sys.modules["diffusers"] = None
from pathlib import Path
from hummingbird_core.vae.pruned import load_pruned_decoder
load_pruned_decoder(Path({str(file)!r}))
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_a_file_of_something_else_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="damaged metadata"):
        load_pruned_decoder(tmp_path / "other.safetensors")
