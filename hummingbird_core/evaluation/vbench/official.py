"""Scores by VBench's package, https://pypi.org/project/vbench, if it is installed.

It pins versions of numpy and transformers that are too old for this package, so it needs a separate
environment (docs/guides/evaluation.md). It downloads the weights of its networks itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...errors import MissingPackageError
from .prompts import check_dimension, videos_of
from .scores import RESULT_SUFFIX


def run_vbench(videos: Path, results: Path, dimensions: Iterable[str], device: str) -> None:
    """Score dimension by dimension into `results`; existing results are kept.

    Args:
        videos: folder with the videos of `export`.
        results: folder for one file per dimension.
        dimensions: names of dimensions.
        device: "cuda", or "cpu" if the dimension's network supports it.

    Raises:
        MissingPackageError: vbench is not installed.
        InputError: videos are missing.
    """
    todo = [name for name in dimensions if not (results / f"{name}{RESULT_SUFFIX}").exists()]
    for name in todo:
        videos_of(videos, check_dimension(name))
    vbench = _require_vbench()
    import torch

    prompts = Path(vbench.__file__).with_name("VBench_full_info.json")
    for name in todo:
        benchmark = vbench.VBench(torch.device(device), str(prompts), str(results))
        benchmark.evaluate(videos_path=str(videos), name=name, dimension_list=[name])


def _require_vbench() -> Any:
    try:
        import vbench
    except ImportError as error:
        raise MissingPackageError(
            "VBench is not installed here. It needs a separate environment: "
            "python -m venv vbench-env && vbench-env/bin/pip install vbench einops && "
            "vbench-env/bin/pip install --no-deps FOLDER_OF_HUMMINGBIRD; "
            "see docs/guides/evaluation.md"
        ) from error
    return vbench
