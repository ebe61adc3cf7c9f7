"""Recipes and provenance of a run, kept in its folder: no other run can resume its state.

recipe.yaml           the recipe that holds from step 0
recipe-000500.yaml    the recipe that holds from step 500, where a start with another one resumed
origins.json          teacher, student and clips
code.json             the code of parts from outside, by the step from which it holds
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import InputError
from ...files import atomic_write, sha256_of_file
from ...hub.local import resolve_model
from ...terminal import get_logger
from ...unet.model import PRESETS
from ..loop.state import completed_steps
from .recipe import Recipe, changed_keys, read_recorded_recipe, write_recipe

logger = get_logger(__name__)

RECIPE = "recipe.yaml"
PROVENANCE = "origins.json"
CODE = "code.json"
COMPARED = ("teacher", "student", "data")  # the other entries of the provenance are for readers


@dataclass(frozen=True)
class RunRecord:
    """Files that record what a run was trained with, in the folder of its state.

    Attributes:
        folder: of the run.
        state: training state; the run has not started while this file is missing.
        provenance: of this start, from `provenance_of`.
        code: hashes of outside modules, from `outside.code_hashes`.
    """

    folder: Path
    state: Path
    provenance: Mapping[str, str]
    code: Mapping[str, str] = field(default_factory=dict)

    def check(self, recipe: Recipe) -> None:
        """Log which recipe keys, and which outside code, differ from those that held so far.

        Raises:
            InputError: the run started with another teacher or student, or other clips.
            CheckpointError: the state is damaged.
        """
        done = completed_steps(self.state)
        if not done:
            return
        self._check_provenance()
        if changed := [*self._changed(recipe, done), *self._changed_code(done)]:
            logger.warning(
                "the run in %s resumes with another %s from step %d on: it is not as if it had "
                "begun like this",
                self.folder,
                ", ".join(changed),
                done,
            )

    def keep(self, recipe: Recipe) -> None:
        """Write what holds from here on: both files of a new run, a recipe that has changed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        done = completed_steps(self.state)
        if not done:
            for path in self._recipes().values():
                path.unlink()  # of a run whose state was deleted
        if not done or not (self.folder / RECIPE).exists():
            write_recipe(recipe, self.folder / RECIPE)
        elif self._changed(recipe, done):
            write_recipe(recipe, self.folder / f"recipe-{done:06d}.yaml")
        if not done or not (self.folder / PROVENANCE).exists():
            with atomic_write(self.folder / PROVENANCE) as temporary:
                temporary.write_bytes(json.dumps(dict(self.provenance), indent=1).encode())
        self._keep_code(done)

    def _keep_code(self, done: int) -> None:
        held = self._code_until(done)
        if dict(self.code) == (held[max(held)] if held else {}):
            return
        lines = {str(step): code for step, code in {**held, done: dict(self.code)}.items()}
        with atomic_write(self.folder / CODE) as temporary:
            temporary.write_bytes(json.dumps(lines, indent=1).encode())

    def _changed_code(self, done: int) -> list[str]:
        """Return the outside modules whose code differs from that of the last steps."""
        held = self._code_until(done)
        before = held[max(held)] if held else {}
        changed = [
            name for name in self.code if before.get(name, self.code[name]) != self.code[name]
        ]
        return [f"{name} (its code)" for name in changed]

    def _code_until(self, done: int) -> dict[int, dict[str, str]]:
        """Return the recorded code by the step from which it holds; {} of a new run."""
        path = self.folder / CODE
        if not done or not path.exists():
            return {}
        lines = json.loads(path.read_text(encoding="utf-8"))
        return {int(step): code for step, code in lines.items() if int(step) <= done}

    def _changed(self, recipe: Recipe, done: int) -> list[str]:
        """Return the keys in which a recipe differs from that of the last steps."""
        held = [path for step, path in sorted(self._recipes().items()) if step <= done]
        return changed_keys(read_recorded_recipe(held[-1]), recipe) if held else []

    def _recipes(self) -> dict[int, Path]:
        """Return the recorded recipes by the step from which they hold."""
        found = {0: self.folder / RECIPE} if (self.folder / RECIPE).exists() else {}
        for path in self.folder.glob("recipe-*.yaml"):
            if match := re.fullmatch(r"recipe-(\d+)\.yaml", path.name):
                found[int(match[1])] = path
        return found

    def _check_provenance(self) -> None:
        path = self.folder / PROVENANCE
        if not path.exists():
            return
        kept = json.loads(path.read_text(encoding="utf-8"))
        now = self.provenance
        changed = [name for name in COMPARED if name in now and kept.get(name) != now[name]]
        if changed:
            name = changed[0]
            raise InputError(
                f"got another {' and another '.join(changed)} ({_name_of(now, name)}) for the run "
                f"in {self.folder}, expected the {name} that it was begun with "
                f"({_name_of(kept, name)}): choose another folder, or delete {path} if it should "
                "go on nevertheless"
            )


def provenance_of(teacher: Path, student: str | Path, data: str | Path) -> dict[str, str]:
    """Return what identifies a run: content hashes of both models, and the source of the clips.

    The names of the files are for readers; a copy under another name is the same model.

    Args:
        teacher: its file.
        student: a U-Net preset, or a file.
        data: absolute path of the clips, or the name of their source.
    """
    return {
        "teacher": _content_hash(teacher),
        "teacher_file": str(teacher),
        "student": _content_hash(student),
        "student_file": str(student),
        "data": str(data),
    }


def _name_of(provenance: Mapping[str, str], name: str) -> str:
    """Return what a reader knows a part of a run by, with the start of its hash."""
    value, file = provenance.get(name, "not recorded"), provenance.get(f"{name}_file")
    return value if file is None or file == value else f"{file}, sha256 {value[:8]}"


def _content_hash(name_or_path: str | Path) -> str:
    if name_or_path in PRESETS:
        return str(name_or_path)
    path = resolve_model(name_or_path)
    return sha256_of_file(path) if path.is_file() else str(path.resolve())
