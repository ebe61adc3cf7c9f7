"""An exported model of a command: its folder, runtime and device. Nothing here needs torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..files import sha256_of_file
from ..runtime.folder import SETTINGS_FILE, read_settings
from ..runtime.pipeline import ExportedPipeline, open_for


@dataclass(frozen=True)
class ExportedModelConfig:
    """A folder of `hummingbird export`, and where it runs; used like `ModelConfig`.

    Args:
        model: the folder.
        runtime: "onnx" or "openvino".
        device: of the runtime, such as "cpu".
    """

    model: Path
    runtime: str
    device: str = "cpu"

    def record(self) -> dict[str, Any]:
        """Return everything about the model that determines the result.

        Raises:
            HummingbirdError: the folder is damaged, or cannot run here.
        """
        self.check()
        settings = read_settings(self.model)
        return {
            **settings.model,
            "runtime": self.runtime,
            "dtype": settings.dtype,
            # The settings hold the hashes of all other files.
            "export_sha256": sha256_of_file(self.model / SETTINGS_FILE)[:16],
        }

    def absolute(self) -> ExportedModelConfig:
        """Return the config with an absolute path, for another working directory."""
        return replace(self, model=self.model.absolute())

    def check(self) -> None:
        """Raise HummingbirdError if a file, the runtime or the device is missing."""
        open_for(read_settings(self.model), self.runtime, self.device)

    def load(self) -> ExportedPipeline:
        """Load the model."""
        return ExportedPipeline(self.model, self.runtime, self.device)
