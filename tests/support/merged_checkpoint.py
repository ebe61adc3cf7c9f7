"""Makes a whole pickled model like the released ones, out of classes that exist nowhere else.

Runs as a program in a separate process (`python merged_checkpoint.py OUT`), so that the reader
in the test process cannot find the classes.
"""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import torch
from support.models import det, manifest
from torch import nn

MODULE = "lvdm.models.ddpm3d"


class LatentDiffusion(nn.Module):
    """Any part of the pickled model; `forward` is stored as a bound method, as the originals do."""

    def native_forward(self, x):
        raise RuntimeError("the reader must not call this")

    def __setstate__(self, state):
        raise RuntimeError("the reader must not call this")


def build() -> nn.Module:
    """The model of `manifests/fake_merged_tiny.json` with its pseudo-random weights."""
    root = LatentDiffusion()
    for key, (shape, _) in manifest("fake_merged_tiny").items():
        *path, name = key.split(".")
        module = root
        for part in path:
            if part not in module._modules:
                module.add_module(part, LatentDiffusion())
            module = module._modules[part]
        if path:
            module.register_parameter(name, nn.Parameter(det("tiny:" + key, shape)))
        else:
            module.register_buffer(name, torch.zeros(shape))
    _add_attributes(root)
    return root


def _add_attributes(root: nn.Module) -> None:
    """Add what the weights do not tell, and what the reader has to leave alone."""
    root.scale_factor = 0.18215
    root.forward = root.native_forward
    root.cond_stage_model.layer_idx = 1
    clip = root.cond_stage_model.model
    clip.register_buffer("attn_mask", torch.zeros(77, 77), persistent=False)
    for block in clip.transformer.resblocks.children():
        block.attn.num_heads = 4


def save_merged_checkpoint(path: Path) -> Path:
    """Writes the model from another process."""
    subprocess.run([sys.executable, __file__, str(path)], check=True)
    return path


def _pretend_to_be_lvdm() -> None:
    for name in ("lvdm", "lvdm.models", MODULE):
        sys.modules[name] = types.ModuleType(name)
    LatentDiffusion.__module__ = MODULE
    sys.modules[MODULE].LatentDiffusion = LatentDiffusion


if __name__ == "__main__":
    _pretend_to_be_lvdm()
    torch.save(build(), sys.argv[1])
