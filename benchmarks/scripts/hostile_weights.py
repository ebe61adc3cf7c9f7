"""Hostile weights files of up to 10 MB: time and memory until they are refused.

    python benchmarks/scripts/hostile_weights.py -o benchmarks/results/hostile-weights

Each file is read in a separate process, forked from one that has loaded a model. Memory is the
peak above that idle process. Linux only.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import struct
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from recording import write_results
from safetensors.torch import save_file

from hummingbird_core.checkpoints import load_checkpoint
from hummingbird_core.errors import CheckpointError
from hummingbird_core.hub.local import resolve_model
from hummingbird_core.lora import load_lora

SIZE = 9_500_000  # bytes of the largest files
LIMIT = 60  # seconds, after which a process is ended
SHARED = b")q\x00" + b"h\x00h\x00\x86q\x00" * 60 + b"0h\x00"  # a tuple of 2^60 elements
MANY_WORDS = [f"w{number}" for number in range(20_000)]
LONG_LIST = b"](" + b"N" * 1000 + b"eq\x01"

PICKLES = {
    "a tuple of 2^60 elements as a key": b"}" + SHARED + b"K\x01s.",
    "text of that tuple": b"c__builtin__\nstr\n" + SHARED + b"\x85R.",
    "a list copied 100,000 times": LONG_LIST
    + b"0]("
    + b"c__builtin__\nlist\nh\x01\x85R" * 100_000
    + b"e.",
    "9.5 million lists": b"(" + b"]" * SIZE + b"l.",
    "9.5 million sets": b"(" + b"\x8f" * SIZE + b"l.",
    "9.5 million nested tuples": b"N" + b"\x85" * SIZE + b".",
    "9.5 million marks": b"(" * SIZE + b".",
    "4.8 million entries of a memo": b"(" + b"N\x94" * (SIZE // 2) + b"l.",
    "a million names of callables": b"("
    + b"".join(b"ca\n%07d\n" % number for number in range(SIZE // 11))
    + b"l.",
    "700,000 keys of one hash": b"}("
    + b"".join(
        b"\x8a\x0b%bN" % (k * (2**61 - 1)).to_bytes(11, "little") for k in range(1, SIZE // 14)
    )
    + b"u.",
    "a text of 9.5 MB": b"X" + struct.pack("<I", SIZE) + b"a" * SIZE + b".",
    "a dictionary shared 90,000 times": b"}q\x00("
    + b"".join(b"X\x05\0\0\0%05d}" % number for number in range(30_000))
    + b"u0]("
    + b"h\x00" * 90_000
    + b"e.",
}


def pickled(data: bytes) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a/data.pkl", b"\x80\x04" + data)

    return make


def many_entries(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(95_000):
            archive.writestr(f"{index:x}", b"")


def many_views(path: Path) -> None:
    one = torch.ones(2_000_000)
    torch.save({str(index): one for index in range(1000)}, path)


def header(text: bytes) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.write_bytes(struct.pack("<Q", len(text)) + text)

    return make


def empty_tensors(count: int, prefix: str) -> bytes:
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    names = {f"{prefix}{index}": entry for index in range(count)}
    return json.dumps(names, separators=(",", ":")).encode()


def built_in(
    extra: dict[str, torch.Tensor] | None = None, **metadata: str
) -> Callable[[Path], None]:
    """A copy of the built-in model with more tensors or other metadata."""

    def make(path: Path) -> None:
        from hummingbird_core.weights.tensor_files import open_tensors

        file = open_tensors(resolve_model("nano"))
        tensors = {key: tensor.read() for key, tensor in file.tensors.items()}
        changed = {f"hummingbird.{key}": value for key, value in metadata.items()}
        save_file({**tensors, **(extra or {})}, path, metadata={**file.metadata, **changed})

    return make


def large_config(**fields: Any) -> str:
    return json.dumps({"unet": {"channel_mult": [1] * 8, "num_res_blocks": 8, **fields}})


CHECKPOINTS = {
    **{name: pickled(data) for name, data in PICKLES.items()},
    "a zip file of 95,000 entries": many_entries,
    "1,000 views of one storage": many_views,
    "130,000 tensors in safetensors": header(empty_tensors(130_000, "")),
    "9,900 blocks of a U-Net": header(empty_tensors(9_900, "input_blocks.")),
    "metadata of 9 MB": header(
        json.dumps({"__metadata__": {"hummingbird.config": "[" * (SIZE - 500_000)}}).encode()
    ),
    "a config nested 200,000 deep": built_in(config="[" * 200_000),
    "a config of a large U-Net": built_in(config=large_config(model_channels=8192)),
    "a config of 136 narrow blocks": built_in(
        config=large_config(model_channels=32, norm_groups=8, head_channels=8)
    ),
    "block 99999999 of the VAE": built_in(
        {"first_stage_model.encoder.down.0.block.99999999.conv1.weight": torch.ones(1)}
    ),
    "block 99999999 of the text encoder": built_in(
        {"cond_stage_model.model.transformer.resblocks.99999999.ln_1.weight": torch.ones(1)}
    ),
    "a tokenizer of 20,000 subjects": built_in(
        tokenizer=json.dumps({"words": MANY_WORDS, "subjects": MANY_WORDS[::-1]})
    ),
}
LORAS = {
    "a LoRA list for another model": lambda path: torch.save([torch.ones(1)] * 742, path),
    "a LoRA of 9,900 other layers": header(empty_tensors(9_900, "lora_unet_")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="without a suffix")
    args = parser.parse_args()
    torch.set_num_threads(1)
    unet = load_checkpoint(resolve_model("nano")).unet  # imports everything
    rows = [measure(name, make, load_checkpoint) for name, make in CHECKPOINTS.items()]
    rows += [
        measure(name, make, lambda path: load_lora(path, unet)) for name, make in LORAS.items()
    ]
    worst = {key: max(row[key] for row in rows) for key in ("processor s", "s", "MiB above idle")}
    result = {
        "command": " ".join(sys.argv),
        "system": sys.platform,
        "cores": os.cpu_count(),
        "load average": os.getloadavg()[0],  # of other work: the seconds on the clock depend on it
        "worst": worst,
        "rows": rows,
    }
    write_results(args.output, result, rows)


def measure(
    name: str, make: Callable[[Path], object], read: Callable[[Path], object]
) -> dict[str, Any]:
    """Return the outcome for one file, from a separate process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hostile"
        make(path)
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=report, args=(path, read, theirs))
        child.start()
        done = ours.recv() if ours.poll(LIMIT) else {"result": f"not done after {LIMIT} s"}
        child.kill()
        child.join()
        row = {"file": name, "MB": path.stat().st_size / 1e6, **done}
    print(json.dumps(row), file=sys.stderr)
    return row


def report(path: Path, read: Callable[[Path], object], pipe: Any) -> None:
    """Send the time and memory of reading a file through a pipe."""
    before, began, processor = memory("VmRSS"), time.perf_counter(), time.process_time()
    try:
        read(path)
        result = "read"
    except CheckpointError as error:
        result = "refused" if "\n" not in str(error) else "refused in several lines"
    except Exception as error:
        result = type(error).__name__
    pipe.send(
        {
            "processor s": time.process_time() - processor,
            "s": time.perf_counter() - began,
            "MiB above idle": memory("VmHWM") - before,
            "result": result,
        }
    )


def memory(field: str) -> float:
    """Return a field of this process's status in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+)", status)[1]) / 1024


if __name__ == "__main__":
    main()
