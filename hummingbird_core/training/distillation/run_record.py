"""Recipe and provenance of a run, kept in its folder: no other run can resume its state."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError
from ...files import atomic_write, sha256_of_file
from ...hub.local import resolve_model
from ...terminal import get_logger
from ...unet.model import PRESETS
from .recipe import Recipe, changed_keys, read_recorded_recipe, write_recipe

logger = get_logger(__name__)

RECIPE = "recipe.yaml"
PROVENANCE = "origins.json"


@dataclass(frozen=True)
class RunRecord:
    """Files that record how a run started, in the folder of its state.

    Attributes:
        folder: of the run.
        state: training state; the run has not started while this file is missing.
        provenance: of this start, from `provenance_of`.
    """

    folder: Path
    state: Path
    provenance: Mapping[str, str]

    def check(self, recipe: Recipe) -> None:
        """Log which recipe keys differ from those of the run to be resumed.

        Raises:
            InputError: the run started with another teacher or student, or other clips.
        """
        if not self.state.exists():
            return
        self._check_provenance()
        path = self.folder / RECIPE
        if path.exists() and (changed := changed_keys(read_recorded_recipe(path), recipe)):
            logger.warning(
                "the run in %s began with another %s: it goes on, but not as if begun like this",
                self.folder,
                ", ".join(changed),
            )

    def keep(self, recipe: Recipe) -> None:
        """Write both files, unless the run is resumed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        is_new = not self.state.exists()
        if is_new or not (self.folder / RECIPE).exists():
            write_recipe(recipe, self.folder / RECIPE)
        if is_new or not (self.folder / PROVENANCE).exists():
            with atomic_write(self.folder / PROVENANCE) as temporary:
                temporary.write_bytes(json.dumps(dict(self.provenance), indent=1).encode())

    def _check_provenance(self) -> None:
        path = self.folder / PROVENANCE
        if not path.exists():
            return
        kept = json.loads(path.read_text(encoding="utf-8"))
        changed = sorted(name for name, value in self.provenance.items() if kept.get(name) != value)
        if changed:
            name = changed[0]
            raise InputError(
                f"got another {' and another '.join(changed)} for the run in {self.folder}, "
                f"expected the {name} that it was begun with ({kept.get(name)}): choose another "
                f"folder, or delete {path} if it should go on nevertheless"
            )


def provenance_of(teacher: Path, student: str | Path, data: str | Path) -> dict[str, str]:
    """Return what identifies a run: content hashes of both models, and the source of the clips.

    Args:
        teacher: its file.
        student: a U-Net preset, or a file.
        data: absolute path of the clips, or the name of their source.
    """
    return {"teacher": _content_hash(teacher), "student": _content_hash(student), "data": str(data)}


def _content_hash(name_or_path: str | Path) -> str:
    if name_or_path in PRESETS:
        return str(name_or_path)
    path = resolve_model(name_or_path)
    return sha256_of_file(path) if path.is_file() else str(path.resolve())
