"""Metadata in tensors, as programs write it that save tensors only."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from hummingbird_core.errors import CheckpointError
from hummingbird_core.weights.tensor_files import open_tensors, text_tensor


def test_text_comes_back_as_metadata_and_is_no_weight(tmp_path):
    path = tmp_path / "file.safetensors"
    tensors = {"hummingbird.config": text_tensor('{"größe": 1}'), "a": torch.ones(2)}
    save_file(tensors, path, metadata={"prompt": "{}", "hummingbird.config": "older"})
    file = open_tensors(path)
    assert file.metadata == {"prompt": "{}", "hummingbird.config": '{"größe": 1}'}
    assert list(file.tensors) == ["a"]


def test_an_empty_text_comes_back():
    assert text_tensor("").shape == (0,)


def test_weights_keep_their_names_whatever_these_are(tmp_path):
    path = tmp_path / "file.safetensors"
    save_file({"hummingbird.scale": torch.ones(1), "mask": torch.ones(1, dtype=torch.uint8)}, path)
    assert set(open_tensors(path).tensors) == {"hummingbird.scale", "mask"}


def test_bytes_that_are_no_text_are_named(tmp_path):
    path = tmp_path / "file.safetensors"
    save_file({"hummingbird.config": torch.tensor([255, 254], dtype=torch.uint8)}, path)
    with pytest.raises(CheckpointError, match=r"file\.safetensors holds metadata .* save it again"):
        open_tensors(path)
