"""Assemble the page that makes videos in a browser, from `web-demo/` and an exported model.

    hummingbird export nano -o nano-web --to onnx --dtype fp16-weights --decoder middle
    python tools/make_web_demo.py nano-web -o site
    python -m http.server --directory site

The folder can go to any static host; served by https it works offline after the first visit.
Needs npm, which fetches two packages in pinned versions: ONNX Runtime Web and a GIF encoder.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from hummingbird_core.errors import HummingbirdError, InputError, OutputError
from hummingbird_core.files import atomic_write, content_hash, remove
from hummingbird_core.runtime.folder import SETTINGS_FILE, TOKENIZER_FILE, read_settings

SOURCE = Path(__file__).resolve().parent.parent / "web-demo"
LIST = "files.js"  # the service worker's list of files; also shows that a folder is our output
MAX_BYTES = 20_000_000
NPM_SECONDS = 300


@dataclass(frozen=True)
class Package:
    """A version of an npm package, and the files of it that the page uses."""

    name: str
    version: str
    sha512: str  # of its archive, in base64 as npm's `dist.integrity`
    folder: str  # of the page
    files: tuple[str, ...]


PACKAGES = (
    Package(
        "onnxruntime-web",
        "1.30.0",
        "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
        "onnxruntime",
        (
            "dist/ort.wasm.min.mjs",
            "dist/ort-wasm-simd-threaded.mjs",
            "dist/ort-wasm-simd-threaded.wasm",
        ),
    ),
    Package(
        "gifenc",
        "1.0.3",
        "xdr6AdrfGBcfzncONUOlXMBuc5wJDtOueE3c5rdG0oNgtINLD+f2iFZltrBRZYzACRbKr+mSVU/x98zv2u3jmw==",
        "gifenc",
        ("dist/gifenc.esm.js", "LICENSE.md"),
    ),
)


def main() -> int:
    """Parse the arguments, assemble the page; 2 with one line if that fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a folder that `hummingbird export` wrote")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the folder to write")
    args = parser.parse_args()
    try:
        size = make_site(args.model, args.output.absolute())
    except HummingbirdError as error:
        sys.stderr.write(f"make_web_demo: error: {error}\n")
        return 2
    print(f"wrote {args.output}: {size / 1e6:.1f} MB")
    return 0


def make_site(model: Path, output: Path) -> int:
    """Write the page to a folder, replacing an earlier one, and return its size in bytes.

    Raises:
        CheckpointError: `model` is no exported model, or is incomplete.
        InputError: the page cannot run the model, or npm cannot get the packages.
        OutputError: `output` is something else.
    """
    files = check_model(model)
    if output.exists() and any(output.iterdir()) and not (output / LIST).is_file():
        raise OutputError(f"{output} exists and is no page of this tool: choose another folder")
    with atomic_write(output) as site:
        shutil.copytree(SOURCE, site)
        (site / "model").mkdir()
        for name in files:
            shutil.copy(model / name, site / "model" / name)
        for package in PACKAGES:
            add_package(package, site)
        size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
        if size > MAX_BYTES:
            raise InputError(
                f"got a page of {size / 1e6:.1f} MB, expected at most {MAX_BYTES / 1e6:.0f} MB: "
                "export the model with --dtype fp16-weights and --decoder"
            )
        write_list(site)
        remove(output)
    return size


def check_model(folder: Path) -> list[str]:
    """Return the names of an export's files; raise an error if the page cannot run it."""
    settings = read_settings(folder)
    kind = json.loads((folder / TOKENIZER_FILE).read_text(encoding="utf-8")).get("kind")
    got = (settings.runtime, settings.guidance_dim is not None, kind)
    if got != ("onnx", True, "words"):
        raise InputError(
            f"got an export for {settings.runtime} with the tokenizer {kind!r}, guidance embedded: "
            f"{settings.guidance_dim is not None}; expected onnx, words and an embedded guidance: "
            "export the built-in model, or a model like it, with --to onnx"
        )
    return [SETTINGS_FILE, *settings.files]


def add_package(package: Package, site: Path) -> None:
    """Put the files of an npm package into the page; WebAssembly is compressed."""
    folder = site / package.folder
    folder.mkdir()
    with tempfile.TemporaryDirectory() as temporary:
        unpack(download(package, Path(temporary)), package.files, folder)


def unpack(archive: Path, names: tuple[str, ...], folder: Path) -> None:
    with tarfile.open(archive) as packed:
        for name in names:
            content = packed.extractfile(f"package/{name}").read()
            target = folder / Path(name).name
            if target.suffix == ".wasm":
                # Hosts that do not compress would send four times as much. Not ".gz": some hosts
                # declare such files as compressed in transit, and the browser unpacks them.
                target = target.with_suffix(".wasm.gzip")
                content = gzip.compress(content, mtime=0)
            target.write_bytes(content)


def download(package: Package, folder: Path) -> Path:
    """Return the archive of a package, fetched by npm and checked.

    Raises:
        InputError: npm is missing or fails, or the archive is not the pinned one.
    """
    wanted = f"{package.name}@{package.version}"
    npm = shutil.which("npm")
    if npm is None:
        raise InputError("got no npm on the PATH, which fetches ONNX Runtime Web: install Node.js")
    command = [npm, "pack", wanted, "--prefer-offline", "--silent", "--pack-destination", folder]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=NPM_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise InputError(f"npm took over {NPM_SECONDS} s to fetch {wanted}: try again") from error
    archive = next(folder.glob("*.tgz"), None)
    if done.returncode or archive is None:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise InputError(f"npm cannot fetch {wanted} ({reason}): check the connection, try again")
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if digest != package.sha512:
        raise InputError(
            f"got an archive of {wanted} with SHA-512 {digest}, expected {package.sha512}: do not "
            "use it, and check where npm gets its packages from"
        )
    return archive


def write_list(site: Path) -> None:
    """Write the list of files that the service worker keeps, and their version."""
    paths = sorted(path for path in site.rglob("*") if path.is_file() and path.name != "sw.js")
    version = hashlib.sha256("".join(map(content_hash, paths)).encode()).hexdigest()[:16]
    names = ["./", *(path.relative_to(site).as_posix() for path in paths)]
    lines = (
        f"const VERSION = {json.dumps(version)};\nconst FILES = {json.dumps(names, indent=1)};\n"
    )
    (site / LIST).write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
