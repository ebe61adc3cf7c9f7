"""Any bytes, header, metadata or pickle: weights, or CheckpointError in one line, in time."""

from __future__ import annotations

import io
import json
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from support.loras import kohya_names, nano, some_lora

from hummingbird_core.checkpoints import checkpoint_info, load_checkpoint, read_tensors
from hummingbird_core.checkpoints.configs import TEXT_FIELDS, VAE_FIELDS
from hummingbird_core.checkpoints.layout import CONFIG_KEY
from hummingbird_core.errors import CheckpointError, printable
from hummingbird_core.lora import load_lora
from hummingbird_core.text.tokenizer import WordTokenizer
from hummingbird_core.unet.config import FIELDS
from hummingbird_core.weights.pickle.plain import read_plain

MAX_SECONDS = 2  # of the processor
quick = settings(
    max_examples=40,
    deadline=None,  # the tests measure the processor's time: the machine may be busy
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

UNET = nano()
UNET_FILE = save(UNET.state_dict())
LORA = dict(list(kohya_names(some_lora(UNET), 4.0).items())[:6])

texts = st.text(max_size=8) | st.sampled_from(["\x1b[31m", "\n", "\ud800", "9" * 5000, "[" * 3000])
numbers = st.integers() | st.floats() | st.sampled_from([2**63, 10**400, -1, 0, 1, 1e300])
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@contextmanager
def own_error_in_time() -> Iterator[None]:
    """Allow CheckpointError, if it is one line and came soon."""
    began = time.process_time()
    try:
        yield
    except CheckpointError as error:
        text = str(error)
        assert text == printable(text)
        assert 0 < len(text) < 3000
    assert time.process_time() - began < MAX_SECONDS


def read_in_all_ways(data: bytes, *readers: Callable) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "weights"
        path.write_bytes(data)
        for read in readers:
            with own_error_in_time():
                read(path)


def lora_of(path: Path) -> object:
    return load_lora(path, UNET)


ALL = (read_tensors, checkpoint_info, load_checkpoint, lora_of)


# --- bytes ----------------------------------------------------------------------------------------

good_files: list[bytes] = [save({"a": torch.ones(3), "hummingbird.x": torch.ones(2).byte()})]
for new in (True, False):
    stream = io.BytesIO()
    torch.save(
        {"a": torch.ones(3), "b": [1, {"c": torch.zeros(2)}]},
        stream,
        _use_new_zipfile_serialization=new,
    )
    good_files.append(stream.getvalue())


@quick
@given(st.binary(max_size=300), st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x05"]))
def test_any_bytes(data, start):
    read_in_all_ways(start + data, *ALL)


@settings(quick, max_examples=100)
@given(st.data())
def test_any_damage_of_a_good_file(data):
    file = bytearray(data.draw(st.sampled_from(good_files)))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(file) - 1))
        file[start : start + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
        if not file:
            break
    read_in_all_ways(bytes(file), read_tensors, checkpoint_info)


# --- safetensors ----------------------------------------------------------------------------------

entries = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "F8_E4M3", "I8", "BOOL", "F4", "X"]) | values,
        "shape": st.lists(st.sampled_from([0, 1, 2, 2**40, 2**63, -1]), max_size=3) | values,
        "data_offsets": st.lists(st.sampled_from([0, 4, 8, 2**63, -1]), max_size=3) | values,
    },
)
keys = texts | st.sampled_from(
    ["input_blocks.0.0.weight", "out.2.weight", "input_blocks.99999999.0.weight", "__metadata__"]
)


@quick
@given(st.dictionaries(keys, entries | values, max_size=4), st.binary(max_size=16))
def test_any_header(header, rest):
    text = json.dumps(header).encode()
    read_in_all_ways(struct.pack("<Q", len(text)) + text + rest, *ALL)


def with_metadata(file: bytes, metadata: dict[str, str]) -> bytes:
    (length,) = struct.unpack("<Q", file[:8])
    header = {**json.loads(file[8 : 8 + length]), "__metadata__": metadata}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + file[8 + length :]


fields = st.sampled_from([*FIELDS, "unknown"])
odd_numbers = st.sampled_from([0, 1, 2, 3, 7, 8, 16, 32, 64, 1000])
odd_values = values | odd_numbers | st.lists(odd_numbers, max_size=9)
configs = st.fixed_dictionaries(
    {"unet": st.dictionaries(fields, odd_values, max_size=2) | values},
    optional={
        "text": st.dictionaries(st.sampled_from([*TEXT_FIELDS, "x"]), odd_values, max_size=2),
        "vae": st.dictionaries(st.sampled_from([*VAE_FIELDS, "x"]), odd_values, max_size=2),
    },
)


@settings(quick, max_examples=40)
@given(configs)
def test_any_metadata(config):
    if isinstance(config["unet"], dict):
        config["unet"] = {**UNET.config.to_dict(), **config["unet"]}
    metadata = {CONFIG_KEY: json.dumps(config)}
    read_in_all_ways(with_metadata(UNET_FILE, metadata), checkpoint_info, load_checkpoint)


@quick
@given(values | st.fixed_dictionaries({"words": st.lists(texts, max_size=3) | values}))
def test_any_tokenizer(stored):
    with own_error_in_time():
        WordTokenizer.from_json(json.dumps(stored))


# --- pickles --------------------------------------------------------------------------------------

NAMES = ["torch._utils\n_rebuild_tensor_v2", "torch._utils\n_rebuild_tensor_v3", "a\nb"]
NAMES += ["torch._tensor\n_rebuild_from_type_v2", "torch\nFloatStorage", "torch\nfloat16"]
NAMES += ["collections\nOrderedDict", "__builtin__\nset", "__builtin__\nstr", "__builtin__\nlist"]
pieces = st.sampled_from(
    [bytes([code]) for code in b"()]}.012NasetuRbQ\x81\x85\x86\x87\x88\x8f\x90\x91\x92\x93\x94"]
    + [b"K\x01", b"h\x00", b"h\x01", b"q\x00", b"q\x01", b"X\x01\0\0\x000", b"h\x00h\x00\x86q\x00"]
    + [b"X\x07\0\0\0storage", b"X\x03\0\0\0cpu", b"\x8a\x08" + b"\xff" * 8, b"G" + b"\x7f" * 8]
    + [b"c" + name.encode() + b"\n" for name in NAMES]
    + [b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tQ"]
)
programs = st.lists(pieces, max_size=60).map(b"".join)


@settings(quick, max_examples=150)
@given(programs, st.sampled_from([b".", b"s.", b"e.", b""]))
def test_any_pickle(program, end):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + program + end)
        archive.writestr("a/data/0", b"\0" * 16)
    read_in_all_ways(stream.getvalue(), read_tensors, checkpoint_info, read_plain, lora_of)


@quick
@given(
    st.lists(st.tuples(texts, st.binary(max_size=20)), max_size=3),
    st.booleans(),
    st.integers(0, 60),
    st.binary(min_size=1, max_size=4),
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_any_zip_file(members, has_pickle, back, bytes_there):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members:
            # The module ends a name at its first zero byte; an empty one it could not write.
            known = name.encode("utf-8", "replace").decode().partition("\0")[0]
            archive.writestr(known or "x", data)
        if has_pickle:
            archive.writestr("a/data.pkl", b"\x80\x02}.")
    data = bytearray(stream.getvalue())
    data[-back - 4 : -back - 4 + len(bytes_there)] = bytes_there
    read_in_all_ways(bytes(data), read_tensors, read_plain)


# --- LoRA -----------------------------------------------------------------------------------------

tensors = st.sampled_from(
    [
        torch.ones(()),
        torch.ones(0),
        torch.full((2,), torch.nan),
        torch.ones(2, 3).to(torch.int8),
        torch.ones(4, 4).to(torch.float8_e4m3fn),
        torch.tensor(1e300, dtype=torch.float64),
    ]
).map(torch.clone)
HEADER_KEYS = ["lora_alpha", "r", "alpha", "lora_adapter_metadata", "hummingbird.base_sample"]
headers = st.dictionaries(
    st.sampled_from(
        ["lora_alpha", "r", "lora_adapter_metadata", "hummingbird.base_sample", "alpha"]
    ),
    texts.map(lambda text: text.encode("utf-8", "replace").decode()) | values.map(json.dumps),
    max_size=3,
)


@quick
@given(st.dictionaries(st.sampled_from(list(LORA)), tensors, max_size=3), headers)
def test_any_lora(changes, header):
    read_in_all_ways(save({**LORA, **changes}, header), lora_of)


@quick
@given(
    st.dictionaries(
        st.sampled_from(
            ["lora_alpha", "r", "alpha_pattern", "rank_pattern", "use_dora", "peft_type"]
        ),
        values | numbers | st.dictionaries(texts | st.sampled_from(["out.2", "(a+)+$"]), numbers),
        max_size=4,
    )
    | values
)
def test_any_peft_settings(peft):
    with TemporaryDirectory() as folder, own_error_in_time():
        (Path(folder) / "adapter_model.safetensors").write_bytes(save(LORA))
        (Path(folder) / "adapter_config.json").write_text(json.dumps(peft))
        lora_of(Path(folder))
