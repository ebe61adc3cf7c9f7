"""The model of a command: its files, device and precision."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..terminal import get_logger

if TYPE_CHECKING:
    import torch

    from ..lora.merge import LoRA
    from ..pipeline import HummingbirdPipeline
    from ..unet.model import HummingbirdUNet

logger = get_logger(__name__)


@dataclass(frozen=True)
class ModelConfig:
    """A model, its LoRAs, and where and how it runs.

    Args:
        model: name, file, folder or hub id, as `HummingbirdPipeline.from_pretrained` takes it.
        loras: files with their strengths.
        decoder: "middle", "tiny", or file or folder of a TAESD or pruned decoder; None is the
            model's own.
        device: None is the best available.
        dtype: "fp32", "fp16" or "bf16"; None depends on the device.
        memory: a way to reduce memory, see `load_in_less_memory`; None keeps all in memory.
        compile: compile the U-Net with `torch.compile` first.
    """

    model: str = "nano"
    loras: tuple[tuple[Path, float], ...] = ()
    decoder: Path | None = None
    device: str | None = None
    dtype: str | None = None
    memory: str | None = None
    compile: bool = False

    def record(self) -> dict[str, Any]:
        """Return everything about the model that determines the result.

        File names come without folders, which a video must not reveal, and with hashes: every
        trained student is called `student.safetensors`.

        Raises:
            HummingbirdError: a file is missing.
        """
        from ..files import content_hash
        from ..hub.local import resolve_model
        from ..offload import STORAGE
        from ..vae.tiny import find_decoder

        self.check()
        return {
            "model": Path(self.model).name,
            "model_sha256": content_hash(resolve_model(self.model)),
            "loras": [
                {"file": path.name, "strength": strength, "sha256": content_hash(path)}
                for path, strength in self.loras
            ],
            "dtype": self.dtype,
            "stored_in": self.memory
            if self.memory in STORAGE
            else None,  # other values do not round weights
            "decoder": self.decoder and self.decoder.name,
            "decoder_sha256": self.decoder and content_hash(find_decoder(self.decoder)),
        }

    def absolute(self) -> ModelConfig:
        """Return the config with absolute paths, for a process with another working directory."""
        from ..vae.tiny import find_decoder

        return replace(
            self,
            model=str(Path(self.model).absolute()) if Path(self.model).exists() else self.model,
            loras=tuple((path.absolute(), strength) for path, strength in self.loras),
            decoder=self.decoder and find_decoder(self.decoder).absolute(),
        )

    def check(self) -> None:
        """Raise HummingbirdError once, rather than for each video, if something is missing."""
        from ..devices import check_device
        from ..hub.local import resolve_model
        from ..offload import check_memory
        from ..vae.tiny import find_decoder

        resolve_model(self.model)
        if self.decoder:
            find_decoder(self.decoder)
        if self.device:
            check_device(self.device)
        if self.memory:
            check_memory(self.memory, self.device)
        if self.memory and self.compile:
            raise InputError(
                "got --compile with --memory, expected one of them: a compiled U-Net keeps all "
                "weights in memory"
            )
        for path, _ in self.loras:
            if not path.exists():
                raise InputError(f"there is no file {path}: check --lora")

    def load(self) -> HummingbirdPipeline:
        """Load the pipeline and merge its LoRAs."""
        from ..devices import DTYPES

        dtype = DTYPES[self.dtype] if self.dtype else None
        pipe = self._load_small(dtype) if self.memory else self._load_whole(dtype)
        if self.decoder:
            self._replace_decoder(pipe, self.decoder)
        if self.compile:
            # On a GPU with CUDA graphs, which launch all kernels of a call at once.
            mode = "reduce-overhead" if pipe.device.type == "cuda" else None
            pipe.unet.compile(fullgraph=True, mode=mode)
        return pipe

    @staticmethod
    def _replace_decoder(pipe: HummingbirdPipeline, name: Path) -> None:
        from ..vae.tiny import check_decoder_fits, load_fast_decoder

        decoder = load_fast_decoder(name, pipe.dtype)
        if pipe.vae is not None:
            check_decoder_fits(decoder, pipe.vae)
        pipe.vae = decoder.to(pipe.device)

    def _load_whole(self, dtype: torch.dtype | None) -> HummingbirdPipeline:
        from ..lora.merge import merge_lora
        from ..pipeline import HummingbirdPipeline

        pipe = HummingbirdPipeline.from_pretrained(self.model, device=self.device, dtype=dtype)
        for lora, strength in self._read_loras(pipe.unet):
            merge_lora(pipe.unet, lora, strength=strength)
        return pipe

    def _load_small(self, dtype: torch.dtype | None) -> HummingbirdPipeline:
        from ..lora.merge import merge_into_submodule
        from ..offload import load_in_less_memory

        read_loras = cache(self._read_loras)  # read once, as soon as there is a U-Net

        def merge(unet: HummingbirdUNet, part: str) -> None:
            merge_into_submodule(unet, part, read_loras(unet))

        return load_in_less_memory(
            self.model, self.memory or "", device=self.device, dtype=dtype, on_loaded=merge
        )

    def _read_loras(self, unet: HummingbirdUNet) -> list[tuple[LoRA, float]]:
        from ..lora.merge import load_lora

        loras = []
        for path, strength in self.loras:
            lora = load_lora(path, unet)
            if lora.unused:
                first = ", ".join(list(lora.unused)[:3])
                logger.warning("%d parts of %s do not fit: %s", len(lora.unused), path, first)
            loras.append((lora, strength))
        return loras
