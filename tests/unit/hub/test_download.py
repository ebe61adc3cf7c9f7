"""Downloading from a real server on this machine that speaks the hub's protocol.

The client runs in a separate process, because huggingface_hub reads its settings on import.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.hub_server import Hub, running_hub
from support.paths import ROOT

from hummingbird_core.errors import InputError
from hummingbird_core.hub.download import CATALOG, plan_download

CONTENT = os.urandom(24 << 20)  # more than twice what the hub's client writes at once


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub(CONTENT) as server:
        yield server


def download(folder: Path, endpoint: str, name: str = "hummingbird-0.7b", **settings: str) -> str:
    """Download in a fresh process; return the file's path, or the error's class and message."""
    code = """
import sys
from hummingbird_core.hub.download import download
try:
    print(download(sys.argv[1], sys.argv[2], accept_licence=True))
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""
    environment = os.environ | settings | {"HF_ENDPOINT": endpoint, "NO_PROXY": "127.0.0.1"}
    environment |= {"HF_HOME": str(folder.parent / "hub_home"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-c", code, name, str(folder)]
    result = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=ROOT, env=environment
    )
    return result.stdout.strip()


def test_downloads_and_verifies(tmp_path, hub):
    file = download(tmp_path, hub.url)
    assert file == str(tmp_path / "07B_merged_all.pt")
    assert Path(file).read_bytes() == CONTENT


def test_goes_on_where_a_broken_transfer_stopped(tmp_path, hub):
    hub.break_at = 13 << 20
    failure = download(tmp_path, hub.url)
    assert failure.startswith("DownloadError: cannot fetch hummingbird-0.7b")
    assert "\n" not in failure
    assert not (tmp_path / "07B_merged_all.pt").exists()
    hub.is_down = False
    assert Path(download(tmp_path, hub.url)).read_bytes() == CONTENT
    assert hub.ranges[0] is None
    assert int(hub.ranges[-1].removeprefix("bytes=").rstrip("-")) > 0


def test_a_damaged_file_is_rejected_and_removed(tmp_path, hub):
    hub.sha256 = "0" * 64
    assert "DownloadError: 07B_merged_all.pt was damaged" in download(tmp_path, hub.url)
    assert list(tmp_path.iterdir()) == []


def test_a_complete_file_is_not_fetched_again(tmp_path, hub):
    (tmp_path / "07B_merged_all.pt").write_bytes(CONTENT)
    download(tmp_path, hub.url)
    assert hub.ranges == []


def test_no_network_and_a_missing_file_give_one_line(tmp_path, hub):
    for endpoint, name in (("http://127.0.0.1:9", "hummingbird-0.7b"), (hub.url, "videocrafter2")):
        failure = download(tmp_path, endpoint, name)
        assert failure.startswith(f"DownloadError: cannot fetch {name}")
        assert "\n" not in failure


def test_offline_mode_uses_what_is_there_and_asks_nobody(tmp_path, hub):
    failure = download(tmp_path, hub.url, HF_HUB_OFFLINE="1")
    assert "offline mode is on" in failure
    (tmp_path / "07B_merged_all.pt").write_bytes(b"put here by hand")
    assert download(tmp_path, hub.url, HF_HUB_OFFLINE="1") == str(tmp_path / "07B_merged_all.pt")
    assert hub.ranges == []


def test_an_unwritable_folder_gives_one_line(tmp_path, hub):
    (tmp_path / "file").touch()
    failure = download(tmp_path / "file", hub.url)
    assert failure.startswith("OutputError: cannot write")
    assert "\n" not in failure


def test_the_licence_comes_first():
    from hummingbird_core.hub.download import download

    with pytest.raises(InputError, match=r"about 4\.8 GB .* licence: research RAIL-MS"):
        download("hummingbird-0.7b", "anywhere")


def test_the_plan_needs_no_network(tmp_path):
    plan = plan_download("hummingbird-0.9b", tmp_path)
    assert plan.url.endswith("/amd/AMD-Hummingbird-T2V/resolve/main/09B_merged_all.pt")
    assert plan.destination == tmp_path / "09B_merged_all.pt"
    with pytest.raises(InputError, match=r"expected one of hummingbird-0\.7b"):
        plan_download("hummingbird-7b")
    assert all(entry.license and entry.size_bytes > 1e9 for entry in CATALOG.values())
