"""Import time that this pack adds to the start of ComfyUI, against a pack of one empty node.

    export COMFYUI_PATH=.comfyui/ComfyUI
    .comfyui/venv/bin/python benchmarks/scripts/import_time.py -o benchmarks/results/import-time

Each run is a new process that loads ComfyUI's own nodes first, then the packs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EMPTY_PACK = """
from comfy_api.latest import ComfyExtension, io

class Empty(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="Empty", inputs=[], outputs=[])

    @classmethod
    def execute(cls):
        return io.NodeOutput()

class Extension(ComfyExtension):
    async def get_node_list(self):
        return [Empty]

async def comfy_entrypoint():
    return Extension()
"""


def seconds_to_load(packs: list[str]) -> list[float]:
    """Time ComfyUI's own loader on each of the folders; to be called once a process."""
    sys.path.insert(0, os.environ["COMFYUI_PATH"])
    sys.argv = ["comfyui", "--cpu"]
    import comfy.options

    comfy.options.enable_args_parsing()
    import nodes

    async def load_all() -> list[float]:
        await nodes.init_public_apis()
        await nodes.init_builtin_extra_nodes()
        seconds = []
        for pack in packs:
            start = time.perf_counter()
            if not await nodes.load_custom_node(pack):
                raise RuntimeError(f"ComfyUI could not load {pack}")
            seconds.append(time.perf_counter() - start)
        return seconds

    return asyncio.run(load_all())


def measure(runs: int) -> dict:
    """Seconds of each run, of the empty pack and of this one."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder, "empty")
        empty.mkdir()
        (empty / "__init__.py").write_text(EMPTY_PACK)
        for _ in range(runs):
            command = [sys.executable, __file__, "--load", str(empty), str(ROOT)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
    return {"empty": [row[0] for row in rows], "hummingbird": [row[1] for row in rows]}


def to_markdown(seconds: dict[str, list[float]]) -> str:
    medians = {pack: statistics.median(values) for pack, values in seconds.items()}
    lines = [f"| {pack} | {value:.3f} |" for pack, value in medians.items()]
    added = medians["hummingbird"] - medians["empty"]
    head = f"| pack | seconds to import (median of {len(seconds['empty'])}) |\n|---|---|\n"
    return head + "\n".join([*lines, f"| **difference** | **{added:.3f}** |"]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("-o", "--output", type=Path, help="writes .json and .md")
    parser.add_argument("--load", nargs="+", help=argparse.SUPPRESS)  # one run, by itself
    args = parser.parse_args()
    if args.load:
        sys.stdout.write(f"\n{json.dumps(seconds_to_load(args.load))}\n")
        return
    result = measure(args.runs)
    args.output.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
    args.output.with_suffix(".md").write_text(to_markdown(result))


if __name__ == "__main__":
    main()
