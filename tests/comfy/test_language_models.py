"""Language models inside ComfyUI: they heed its interrupt, and have its memory to themselves."""

from __future__ import annotations

import sys
import threading
import time

import pytest
from support.chat_model import save_chat_model
from support.chat_server import chat_server, says
from support.comfy.native import settings


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HUMMINGBIRD_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def management(adapter):
    import comfy.model_management

    yield comfy.model_management
    comfy.model_management.interrupt_current_processing(False)


@pytest.fixture
def ask(adapter, nano):
    """A function (source, model, address) -> the enhanced prompt."""

    def enhance(source: str, model: str = "", url: str = ""):
        return adapter.prompts.enhance(nano.clip, "a red circle", source, model, url, 0, None)

    return enhance


def test_a_server_is_asked(ask):
    with chat_server(says("a red circle moves right")) as server:
        assert ask("server", url=server.url).text == "a red circle moves right"


def test_a_server_that_only_the_workflow_names_gets_no_key(ask, adapter, monkeypatch, tmp_path):
    """Treat the server as another machine; the node shows how to allow it."""
    core = adapter.prompts.create_enhancer.__module__.removesuffix(".factory")
    policy = sys.modules[f"{core}.backends.api_key"]
    monkeypatch.setattr(policy, "is_loopback", lambda url: False)
    monkeypatch.setenv("HUMMINGBIRD_API_KEY", "sk-secret")
    with chat_server(says("a red circle moves right")) as server:
        shown = adapter.prompts.describe_enhanced(ask("server", url=server.url))
        assert server.keys == [None]
        assert "No key was sent" in shown
        assert "HUMMINGBIRD_API_HOSTS" in shown
        monkeypatch.setenv("HUMMINGBIRD_API_HOSTS", "127.0.0.1")
        monkeypatch.setenv("HUMMINGBIRD_CACHE", str(tmp_path / "empty"))
        assert "No key" not in adapter.prompts.describe_enhanced(ask("server", "tiny", server.url))
    assert server.keys == [None, "Bearer sk-secret"]


def test_a_server_that_thinks_for_long_can_be_interrupted(ask, management):
    with chat_server(says("too late", delay=3.0)) as server:
        threading.Timer(0.5, management.interrupt_current_processing).start()
        start = time.monotonic()
        with pytest.raises(management.InterruptProcessingException):
            ask("server", url=server.url)
        assert time.monotonic() - start < 2.5


def test_a_local_model_stops_at_an_interrupt(ask, management, tmp_path, monkeypatch):
    """At the first token that it says after it."""
    import comfy.utils

    said = []

    def interrupt(*_, **__) -> None:
        said.append(1)
        management.interrupt_current_processing()

    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", interrupt)
    with pytest.raises(management.InterruptProcessingException):
        ask("local", str(save_chat_model(tmp_path / "Tiny-Instruct")))
    assert len(said) == 1


def test_a_local_model_does_not_lie_beside_the_video_model(
    ask, adapter, management, nano, positive, tmp_path
):
    adapter.sample.sample_video(nano.model, positive, settings(adapter, steps=1), 0)
    assert management.current_loaded_models
    ask("local", str(save_chat_model(tmp_path / "Tiny-Instruct")))
    assert not management.current_loaded_models
