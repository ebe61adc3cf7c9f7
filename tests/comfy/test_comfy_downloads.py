"""Downloads: an interrupt stops them as an interrupt, not as a fault of the network."""

from __future__ import annotations

import importlib
import sys

import pytest


@pytest.fixture
def core(pack):
    return importlib.import_module("hummingbird_pack.hummingbird_core.download")


@pytest.fixture
def downloads(pack):
    return importlib.import_module("hummingbird_pack.nodes.adapter.downloads")


def test_the_description_shows_size_origin_and_licence(core, downloads):
    text = downloads.describe_all()
    for name, entry in core.CATALOG.items():
        assert f"{name}: about {entry.size_bytes / 1e9:.1f} GB from {entry.repo_id}" in text
        assert entry.licence in text


def test_a_missing_package_is_named(downloads, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # importing it raises
    with pytest.raises(downloads.MissingPackageError, match="pip install huggingface_hub"):
        downloads.fetch("hummingbird-0.7b", accept_licence=True, convert=False)


def test_writing_is_watched_and_can_be_stopped(core, downloads, tmp_path):
    import comfy.model_management as management

    seen = []
    with (tmp_path / "part").open("ab") as file:
        watched = core._Watched(file, 9, lambda done, total: seen.append((done, total)))
        watched.write(b"abcd")
        watched.write(b"efg")
    assert seen == [(4, 9), (7, 9)]

    management.interrupt_current_processing(True)
    with pytest.raises(management.InterruptProcessingException):
        downloads._Progress()(1 << 20, 2 << 20)
