"""Metadata of a LoRA file: trigger, base model, settings, in the keys that other tools read.

`modelspec.*` are those of Stability's Model Metadata Standard, `ss_*` those of kohya's trainer;
`hummingbird.*` are ours. The base model is recognized by a sample of its norms and biases, which no
LoRA changes, so that a merged LoRA, another precision or another file format make no difference.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..files import sha256_of_file
from ..hub.local import resolve_model
from ..inputs.fields import ListOf, Number
from ..inputs.json_text import parse_json
from ..unet.model import PRESETS, HummingbirdUNet

SAMPLE_KEY = "hummingbird.base_sample"
TRIGGER_KEY = "modelspec.trigger_phrase"
SAMPLE_SIZE = 64  # values
SAMPLE = ListOf(Number(-1e30, 1e30), 0, SAMPLE_SIZE)
SAME_MODEL = 0.01  # relative distance; bf16 rounds by 0.002


@dataclass(frozen=True)
class TrainingFacts:
    """Facts about the training of a LoRA.

    Attributes:
        title: name of the LoRA.
        base_name: name of the base model's file.
        base_sha256: of that file; "" if unknown.
        rank, alpha: of its matrices.
        steps: optimizer steps.
        trigger: word that calls for it; "" for none.
        clips: number of training clips; 0 if unknown.
        version: of the trainer.
        dataset_sha256: of the clips and their captions; "" if unknown.
        settings: all settings, as JSON can write them.
    """

    title: str
    base_name: str
    base_sha256: str
    rank: int
    alpha: float
    steps: int
    trigger: str = ""
    clips: int = 0
    version: str = ""
    dataset_sha256: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)


def training_metadata(facts: TrainingFacts, unet: HummingbirdUNet) -> dict[str, str]:
    """Return the metadata of a LoRA trained on `unet`; entries that are unknown are left out."""
    tags = {"clips": {facts.trigger: facts.clips or 1}} if facts.trigger else {}
    values = {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": "hummingbird/lora",
        "modelspec.implementation": "hummingbird",
        "modelspec.title": facts.title,
        TRIGGER_KEY: facts.trigger,
        "ss_output_name": facts.title,
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(facts.rank),
        "ss_network_alpha": f"{facts.alpha:g}",
        "ss_steps": str(facts.steps),
        "ss_sd_model_name": facts.base_name,
        "ss_new_sd_model_hash": facts.base_sha256,
        "ss_base_model_version": unet.config.preset or "",
        "ss_num_train_images": str(facts.clips or ""),
        "ss_tag_frequency": json.dumps(tags) if tags else "",
        "hummingbird.version": facts.version,
        "hummingbird.dataset_sha256": facts.dataset_sha256,
        "hummingbird.settings": json.dumps(dict(facts.settings)) if facts.settings else "",
        SAMPLE_KEY: json.dumps(base_sample(unet)),
    }
    return {key: value for key, value in values.items() if value}


def identify_base(name_or_path: str | Path) -> tuple[str, str]:
    """Return name and SHA-256 of a base model's file; of a preset its name and ""."""
    if name_or_path in PRESETS:
        return str(name_or_path), ""
    path = resolve_model(name_or_path)
    return path.name, sha256_of_file(path) if path.is_file() else ""


def base_sample(unet: HummingbirdUNet) -> list[float]:
    """Return evenly spaced values of a U-Net's norms and biases; [] if they cannot be read.

    They are the same with a LoRA merged or injected. Weights without data ("meta") and in 8 bits
    cannot be compared.
    """
    named = {
        name.replace(".base_layer", ""): parameter.detach()
        for name, parameter in unet.named_parameters()
        if parameter.ndim == 1 and "lora_" not in name
    }
    values = [named[name] for name in sorted(named)]
    if any(value.is_meta or value.dtype.itemsize < 2 for value in values):
        return []
    joined = torch.cat([value.float().cpu() for value in values])
    chosen = joined[torch.linspace(0, len(joined) - 1, SAMPLE_SIZE).long()]
    return [float(f"{value:.4e}") for value in chosen.tolist()]


def other_base(metadata: Mapping[str, str], unet: HummingbirdUNet) -> str | None:
    """Return a warning if a LoRA was trained on another model than `unet`."""
    try:
        sample = parse_json(metadata[SAMPLE_KEY], SAMPLE_KEY)
    except (KeyError, InputError):
        return None  # of another trainer
    if not SAMPLE.accepts(sample):
        return None
    recorded = torch.tensor(sample, dtype=torch.float32)
    here = torch.tensor(base_sample(unet))
    if recorded.shape != here.shape or not len(here):
        return None if not len(here) or not len(recorded) else _warning(metadata)
    distance = float((here - recorded).norm() / recorded.norm().clamp(min=1e-8))
    return None if distance <= SAME_MODEL else _warning(metadata)


def _warning(metadata: Mapping[str, str]) -> str:
    name = metadata.get("ss_sd_model_name", "a model that it does not name")
    digest = metadata.get("ss_new_sd_model_hash", "")[:8]
    known = f"{name}, sha256 {digest}" if digest else name
    return (
        f"it was trained on another model ({known}) than the one it is loaded into: the result "
        "may not be what it has learned"
    )
