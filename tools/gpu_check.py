"""Check and measure everything that depends on the device, in one command of at most 8 minutes.

    python tools/gpu_check.py --device cuda -o outputs/gpu
    python tools/gpu_check.py --device cpu -o outputs/gpu-cpu     small: tries the checks themselves

Writes report.json and report.md with the device's name, what passed, failed or found no time, and
the tables of `hummingbird bench` beside them. The exit code is 1 if a check failed. A second
process does the work and writes after each check, so that nothing is lost if the device hangs.

Beyond PyTorch it needs the wheels of einops, safetensors, diffusers, transformers, huggingface-hub,
tokenizers, av, imageio-ffmpeg, pillow, ftfy, tqdm, psutil and filelock, accelerate for streamed
weights and training, and pyyaml for recipes; matplotlib draws the tables. No network: weights are
the built-in model's, or random.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]
SECONDS = 470
DEVICES = ("cuda", "mps", "cpu")
FEWEST_SECONDS = 20  # left, to begin another check
REPORT = "report.json"


def main() -> int:
    """Run the checks in a second process, bounded in time; 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=DEVICES, required=True)
    parser.add_argument("-o", "--output", type=Path, required=True, help="the folder to write")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time for all checks")
    parser.add_argument("--only", nargs="+", help="names of checks (default: all)")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        return run_checks(args)
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / REPORT).unlink(missing_ok=True)
    try:
        ended = subprocess.run([sys.executable, *sys.argv, "--inside"], timeout=args.seconds + 10)
        reason = f"the process of the checks ended with {ended.returncode}"
    except subprocess.TimeoutExpired:
        reason = f"stopped after {args.seconds:.0f} s"
    return summarize(args.output, reason)


def run_checks(args: argparse.Namespace) -> int:
    """Run one check after the other; write the report before and after each."""
    from gpu_checks import CHECKS, Machine

    from hummingbird_core.errors import InputError

    start = time.monotonic()
    machine = Machine(args.device, args.output)
    try:
        device = machine.name
    except InputError as error:  # there is none
        sys.stderr.write(f"gpu_check: error: {error}\n")
        return 2
    results: list[dict[str, Any]] = []
    for name in args.only or CHECKS:
        left = args.seconds - (time.monotonic() - start)
        if left < FEWEST_SECONDS:
            results.append({"check": name, "status": "no time"})
            continue
        write(args, device, [*results, {"check": name, "status": "running"}])
        results.append(run_check(name, machine))
    write(args, device, results)
    return 0


def run_check(name: str, machine: Any) -> dict[str, Any]:
    """Return the result of one check, whatever it raises."""
    from gpu_checks import CHECKS, NotForThisDeviceError

    begin, reason, rows = time.monotonic(), "", []
    try:
        rows = CHECKS[name](machine)
        status = "failed" if any(row.get("failed") for row in rows) else "passed"
    except NotForThisDeviceError as error:
        status, reason = "not for this device", str(error)
    except Exception as error:  # everything that a device can do is to be reported
        lines = str(error).strip().splitlines()
        status, reason = "failed", f"{type(error).__name__}: {lines[0] if lines else 'no reason'}"
    seconds = round(time.monotonic() - begin, 1)
    return {"check": name, "status": status, "seconds": seconds, "reason": reason, "rows": rows}


def write(args: argparse.Namespace, device: str, results: list[dict[str, Any]]) -> None:
    import torch

    report = {
        "command": " ".join(["python", *(word for word in sys.argv if word != "--inside")]),
        "device": device,
        "machine": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "checks": results,
    }
    text = json.dumps(report, indent=2) + "\n"
    (args.output / REPORT).write_text(text, encoding="utf-8")


def summarize(folder: Path, reason: str) -> int:
    """Mark a check that was stopped, write report.md, print it; 1 if a check failed."""
    path = folder / REPORT
    if not path.is_file():
        sys.stderr.write(f"gpu_check: error: {reason} before the first check; see above\n")
        return 1
    report = json.loads(path.read_text(encoding="utf-8"))
    for result in report["checks"]:
        if result["status"] == "running":
            result.update(status="failed", reason=reason)
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    text = to_markdown(report)
    (folder / "report.md").write_text(text, encoding="utf-8")
    print(text)
    return int(any(result["status"] == "failed" for result in report["checks"]))


def to_markdown(report: dict[str, Any]) -> str:
    """Return the report: a line for each check, then the rows of each."""
    lines = [
        f"# {report['device']}",
        f"`{report['command']}`, PyTorch {report['torch']}, Python {report['python']}, "
        f"{report['machine']}",
        table(
            [
                {key: result.get(key, "") for key in ("check", "status", "seconds", "reason")}
                for result in report["checks"]
            ]
        ),
    ]
    for result in report["checks"]:
        if result.get("rows"):
            lines += [f"## {result['check']}", table(result["rows"])]
    return "\n\n".join(lines) + "\n"


def table(rows: list[dict[str, Any]]) -> str:
    heads = list(dict.fromkeys(head for row in rows for head in row))
    lines = [heads, ["---"] * len(heads)]
    lines += [[cell(row.get(head, "")) for head in heads] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(value: Any) -> str:
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
