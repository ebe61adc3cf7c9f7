"""Views of a run: TensorBoard, trackers of accelerate, the progress bar."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

pytest.importorskip("accelerate", reason="needs the extra train")

from hummingbird_core.errors import InputError, MissingPackageError
from hummingbird_core.training.loop.config import TrainConfig
from hummingbird_core.training.loop.progress import ValidationResult, read_losses
from hummingbird_core.training.loop.tracking import Watch, check_tracker, flat
from hummingbird_core.training.loop.trainer import train

MODULE = '''
import json
from pathlib import Path

from accelerate.tracking import GeneralTracker


class Notebook(GeneralTracker):
    """Writes a line for each call."""

    name = "notebook"
    requires_logging_directory = True

    def __init__(self, title, folder):
        super().__init__()
        self.path = Path(folder) / f"{title}.jsonl"

    @property
    def tracker(self):
        return self.path

    def note(self, *values):
        with self.path.open("a") as file:
            file.write(json.dumps(values) + "\\n")

    def store_init_configuration(self, values):
        self.note("settings", values)

    def log(self, values, step=None, **kwargs):
        self.note("log", step, values)

    def log_images(self, values, step=None, **kwargs):
        self.note("images", step, {name: list(images.shape) for name, images in values.items()})

    def finish(self):
        self.note("finish")


class Offline(Notebook):
    def log(self, values, step=None, **kwargs):
        raise OSError("no route to host")


class NoTracker:
    pass
'''
PROMPT = "a red circle moves right"


@pytest.fixture(autouse=True)
def outside_trackers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "outside_trackers.py").write_text(MODULE)
    monkeypatch.syspath_prepend(folder)


def validate(done: int) -> ValidationResult:
    video = np.full((5, 16, 24, 3), 40 * done, np.uint8)
    return ValidationResult(numbers={"judge": done / 4}, videos={PROMPT: video}, fps=8)


def fit(folder: Path, watch: Watch | None = None, steps: int = 2) -> None:
    model = nn.Linear(4, 1)

    def loss(micro_batch):
        x = torch.stack([torch.randn(4, generator=g) for g in micro_batch.clip_generators()])
        return {"error": model(x).square().mean()}

    settings = TrainConfig(steps, learning_rate=0.05, validate_every=2)
    train("fit", model, loss, settings, folder, validate, watch=watch)


def notes(path: Path) -> list[list]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_tracker_gets_settings_numbers_and_frames(tmp_path):
    watch = Watch("mine", "outside_trackers:Notebook", {"training": {"betas": (0.9, 0.99)}})
    fit(tmp_path / "run", watch)
    got = notes(tmp_path / "run" / "mine.jsonl")
    assert got[0] == ["settings", {"training.betas": "(0.9, 0.99)"}]
    assert [line[:2] for line in got[1:-1]] == [
        ["log", 0],
        ["images", 0],
        ["log", 0],
        ["log", 1],
        ["log", 2],
        ["images", 2],
    ]
    first, second = read_losses(tmp_path / "run" / "fit.losses.jsonl")
    assert (got[3][2]["loss"], got[4][2]["loss"]) == (first["loss"], second["loss"])
    assert got[5][2] == {"validation/judge": 0.5}
    assert got[6][2] == {f"validation/{PROMPT}": [5, 16, 24, 3]}
    assert got[-1] == ["finish"]


def test_a_tracker_that_fails_costs_no_step(tmp_path, caplog):
    fit(tmp_path / "run", Watch("mine", "outside_trackers:Offline"))
    assert len(read_losses(tmp_path / "run" / "fit.losses.jsonl")) == 2
    assert caplog.text.count("the tracker could not log (no route to host): the run goes on") == 1


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("wandb", MissingPackageError, "got tracker wandb, expected its package: pip install"),
        ("papers", InputError, "got tracker 'papers', expected wandb, trackio, mlflow, or MODULE"),
        ("outside_trackers:None_", InputError, "got tracker 'outside_trackers:None_', expected"),
        ("outside_trackers:NoTracker", InputError, "expected a class derived from accelerate"),
    ],
)
def test_trackers_that_cannot_be_used(name, error, message, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)  # as where it is not installed
    with pytest.raises(error, match=message):
        check_tracker(name)


def test_losses_of_each_kind_of_step(tmp_path):
    kinds = ["16 frames", "8 frames"]
    fit(tmp_path, Watch(kind_of_step=lambda step: kinds[step]))
    lines = read_losses(tmp_path / "fit.losses.jsonl")
    assert [line["kind"] for line in lines] == kinds
    scalars = events(tmp_path / "tensorboard" / "fit").Scalars("loss by kind/8 frames")
    assert [(entry.step, entry.value) for entry in scalars] == [
        (1, pytest.approx(lines[1]["loss"]))
    ]


def events(folder: Path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    return accumulator.EventAccumulator(str(folder)).Reload()


def test_tensorboard_has_settings_curves_and_videos(tmp_path):
    fit(tmp_path, Watch(settings={"training": {"steps": 2}, "note": None}))
    read = events(tmp_path / "tensorboard" / "fit")
    assert {"loss", "error", "learning_rate", "validation/judge"} <= set(read.Tags()["scalars"])
    start, end = read.Images(f"validation/{PROMPT}")
    assert (start.step, end.step, end.width, end.height) == (0, 2, 24, 16)
    video = Image.open(io.BytesIO(end.encoded_image_string))
    assert video.n_frames == 1  # all frames are equal, so the format stores one
    assert video.convert("RGB").getpixel((0, 0)) == (80, 80, 80)
    data = read.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"training.steps" in data


def test_the_bar_has_the_given_name(tmp_path, capsys):
    fit(tmp_path / "a", Watch("watercolour"))
    fit(tmp_path / "b")
    shown = capsys.readouterr().err
    assert "watercolour: 100%" in shown
    assert "fit: 100%" in shown


def test_settings_by_dotted_names():
    assert flat({"a": {"b": 1, "c": {"d": True}}, "e": None}) == {
        "a.b": 1,
        "a.c.d": True,
        "e": "None",
    }
