"""Downloads: an interrupt stops them as an interrupt, not as a fault of the network."""

from __future__ import annotations

import importlib
import sys
from types import SimpleNamespace

import pytest
from support.hub_server import running_hub


@pytest.fixture
def core(pack):
    return importlib.import_module("hummingbird_pack.hummingbird_core.hub.download")


@pytest.fixture
def downloads(pack):
    return importlib.import_module("hummingbird_pack.nodes.adapter.io.downloads")


def test_the_description_shows_size_origin_and_licence(core, downloads):
    text = downloads.describe_all()
    for name, entry in core.CATALOG.items():
        assert f"{name}: about {entry.size_bytes / 1e9:.1f} GB from {entry.repo_id}" in text
        assert entry.license in text


def test_a_missing_package_is_named(downloads, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # importing it raises
    with pytest.raises(downloads.MissingPackageError, match="pip install huggingface_hub"):
        downloads.fetch("hummingbird-0.7b", accept_licence=True, convert=False)


def test_writing_is_watched_and_can_be_stopped(downloads, tmp_path):
    import comfy.model_management as management

    transfer = importlib.import_module("hummingbird_pack.hummingbird_core.hub.transfer")
    seen = []
    with (tmp_path / "part").open("ab") as file:
        watched = transfer.CheckedFile(file, 9, lambda done, total: seen.append((done, total)))
        watched.write(b"PK\x03\x04")
        watched.write(b"\x00fg")
    assert seen == [(4, 9), (7, 9)]

    management.interrupt_current_processing(True)
    with pytest.raises(management.InterruptProcessingException):
        downloads._Progress()(1 << 20, 2 << 20)


@pytest.fixture
def hub(adapter, downloads, tmp_path, monkeypatch):
    """A hub that has the built-in model for a released one, and a folder for it."""
    from huggingface_hub import constants

    for proxy in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    monkeypatch.setattr(downloads, "download_folder", lambda: tmp_path)
    released = adapter.core_hub_local.resolve_model("nano").read_bytes()
    with running_hub(released) as server:
        address = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address)
        yield SimpleNamespace(server=server, folder=tmp_path)


def test_what_is_fetched_is_converted_once_and_loads(adapter, downloads, hub):
    converted = downloads.fetch("hummingbird-0.7b", accept_licence=True, convert=True)
    assert converted == hub.folder / "hummingbird-0.7b.safetensors"
    assert (hub.folder / "07B_merged_all.pt").is_file()
    assert adapter.checkpoint.load_models(converted).clip is not None
    hub.server.is_down = True
    assert downloads.fetch("hummingbird-0.7b", accept_licence=True, convert=True) == converted


def test_without_conversion_the_released_file_is_the_one_to_load(downloads, hub):
    path = downloads.fetch("hummingbird-0.7b", accept_licence=True, convert=False)
    assert path == hub.folder / "07B_merged_all.pt"
    assert [file for file in hub.folder.iterdir() if not file.name.startswith(".")] == [path]


def test_an_interrupt_during_a_transfer_stays_one_and_the_next_try_goes_on(downloads, hub):
    import comfy.model_management as management

    management.interrupt_current_processing(True)
    with pytest.raises(management.InterruptProcessingException):
        downloads.fetch("hummingbird-0.7b", accept_licence=True, convert=False)
    assert not (hub.folder / "07B_merged_all.pt").exists()
    downloads.fetch("hummingbird-0.7b", accept_licence=True, convert=False)
    assert (hub.folder / "07B_merged_all.pt").is_file()


def test_a_fault_of_the_network_stays_one(downloads, hub):
    hub.server.is_down = True
    with pytest.raises(downloads.DownloadError, match=r"cannot fetch hummingbird-0\.7b"):
        downloads.fetch("hummingbird-0.7b", accept_licence=True, convert=True)


def test_without_consent_its_input_is_named_and_nothing_is_asked_for(downloads, hub):
    with pytest.raises(downloads.InputError, match="input accept_licence: hummingbird"):
        downloads.fetch("hummingbird-0.7b", accept_licence=False, convert=True)
    assert hub.server.ranges == []
