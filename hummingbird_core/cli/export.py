"""`hummingbird export`: write a model for ONNX Runtime or OpenVINO."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..runtime.base import RUNTIMES
from ..terminal import print_line
from .options import add_decoder, add_loras, split_strength

EPILOG = """\
examples:
  hummingbird export nano -o nano-onnx --to onnx
  hummingbird generate "a red circle moves right" --model nano-onnx --runtime onnx
  with a small decoder and a LoRA, for 26 frames of 256x160, in fp16:
    hummingbird export hummingbird-07b.safetensors -o 07b-openvino --to openvino --dtype fp16
        --decoder taesd --lora watercolour.safetensors:0.5 --frames 26 --width 256 --height 160

The folder holds unet, decoder and text encoder with tokenizer and settings. Shapes are fixed: other
sizes need another export. Each model is compared with PyTorch's in fp32 before the folder appears;
a relative distance above 1e-3 (fp32), 1e-2 (fp16 and fp16-weights) or 5e-2 (int8) is an error. The
guide docs/guides/small-devices.md says how to run the folder without PyTorch, or in a browser.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `hummingbird export`."""
    parser.epilog = EPILOG
    parser.add_argument("model", help="a checkpoint file or folder; nano is built in")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the folder to write")
    parser.add_argument("--to", choices=RUNTIMES, required=True, help="the runtime")
    parser.add_argument(
        "--dtype",
        choices=("fp32", "fp16", "fp16-weights", "int8"),
        default="fp32",
        help="precision of weights and arithmetic; fp16-weights: files of half the size, computed "
        "in fp32; int8: the U-Net's matrix products, onnx only",
    )
    parser.add_argument("--width", type=int, help="pixels, a multiple of 8 (default: the model's)")
    parser.add_argument("--height", type=int, help="pixels, a multiple of 8 (default: the model's)")
    parser.add_argument("--frames", type=int, default=16, help="frames of a video")
    add_loras(parser)
    add_decoder(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace an older export")


def run(args: argparse.Namespace) -> None:
    """Export the model and print the check of each part."""
    from ..export.check import TOLERANCES
    from ..export.run import ExportConfig, VideoShape, check_folder, export_model
    from ..generation.jobs import VideoConfig, check_config
    from ..generation.model import ModelConfig

    config = ExportConfig(args.to, args.dtype)
    config.check()
    # What no video can have, no export can.
    size = {"width": args.width, "height": args.height, "num_frames": args.frames}
    check_config(VideoConfig("any", **size), "")
    check_folder(args.output, overwrite=args.overwrite)
    loras = tuple(map(split_strength, args.lora))
    model = ModelConfig(args.model, loras, args.decoder, device="cpu", dtype="fp32")
    record = {key: value for key, value in model.record().items() if key != "stored_in"}
    pipe = model.load()
    height, width = args.height or pipe.trained.height, args.width or pipe.trained.width
    most = TOLERANCES[args.dtype]

    def report(name: str, distance: float) -> None:
        print_line(f"{name}: relative distance {distance:.1e} from PyTorch in fp32 (<= {most:.0e})")

    export_model(
        pipe,
        args.output.absolute(),
        VideoShape(height, width, args.frames),
        config,
        record=record,
        overwrite=args.overwrite,
        report=report,
    )
    print_line(f"wrote {args.output}: {args.frames} frames of {width}x{height}, {args.dtype}")
