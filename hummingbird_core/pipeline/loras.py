"""LoRAs of a pipeline by name: load, change strengths, unload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from ..errors import InputError
from ..lora.merge import LoRA, load_lora, merge_lora
from ..unet.model import HummingbirdUNet


@dataclass
class NamedLoRAs:
    """LoRAs merged into a U-Net, by name.

    Attributes:
        unet: its weights change; without LoRAs they are those it had, bit by bit.
        strengths: of all loaded LoRAs; 0 for those that are off.
    """

    unet: HummingbirdUNet
    strengths: dict[str, float] = field(default_factory=dict)
    _loaded: dict[str, LoRA] = field(default_factory=dict)

    def load(self, path: Path, name: str | None, strength: float) -> str:
        """Load and merge a file; return its name, by default that of the file."""
        check_not_hooked(self.unet, "LoRAs")
        name = name or path.stem
        if name in self._loaded:
            raise InputError(
                f"got a second LoRA called {name}, expected another name: give name=, or unload "
                f"{name} first"
            )
        lora = load_lora(path, self.unet)
        merge_lora(self.unet, lora, strength)
        self._loaded[name], self.strengths[name] = lora, strength
        return name

    def set(self, strengths: Mapping[str, float]) -> None:
        """Merge the named LoRAs with these strengths, and switch all others off."""
        for name in strengths:
            self._check_name(name)
        for name, lora in self._loaded.items():
            strength = strengths.get(name, 0.0)
            merge_lora(self.unet, lora, strength - self.strengths[name])
            self.strengths[name] = strength

    def unload(self, name: str | None) -> None:
        """Undo and forget one LoRA, or all."""
        names = list(self._loaded) if name is None else [name]
        for name in names:
            self._check_name(name)
            merge_lora(self.unet, self._loaded.pop(name), -self.strengths.pop(name))

    def _check_name(self, name: str) -> None:
        if name not in self._loaded:
            known = ", ".join(self._loaded) or "none"
            raise InputError(f"got LoRA {name!r}, expected a loaded one ({known}): load it first")


def check_not_hooked(model: nn.Module, wish: str) -> None:
    """Raise InputError if a model's weights are streamed, or stored smaller, see `offload`."""
    # diffusers hangs this on every module whose weights it moves or casts.
    if any(hasattr(module, "_diffusers_hook") for module in model.modules()):
        raise InputError(
            f"got {wish} for a model whose weights are streamed or stored smaller, expected one "
            "that is whole in memory: load it without `offload`, or merge LoRAs while it is "
            "loaded (load_in_less_memory's on_loaded)"
        )
