"""Hummingbird: small, fast text-to-video. Plain PyTorch, usable with or without ComfyUI."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .pipeline import HummingbirdPipeline

    __version__: str

__all__ = ["HummingbirdPipeline", "__version__"]
_DISTRIBUTION = "hummingbird-video"


def __getattr__(name: str) -> Any:
    """Find attributes on first use (PEP 562), so that the package alone loads no torch."""
    if name == "HummingbirdPipeline":
        from .pipeline import HummingbirdPipeline

        return HummingbirdPipeline
    if name == "__version__":
        return _source_version() or _installed_version() or "unknown"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _source_version() -> str | None:
    """Return the version in the pyproject.toml above the package, or None if there is none.

    A clone in ComfyUI's custom_nodes is not installed. Its file comes first: what pip has
    installed elsewhere may be another version.
    """
    import re
    from pathlib import Path

    project = Path(__file__).resolve().parent.parent / "pyproject.toml"
    text = project.read_text(encoding="utf-8") if project.is_file() else ""
    is_ours = f'name = "{_DISTRIBUTION}"' in text  # site-packages may hold another project's file
    version = re.search(r'^version = "(.+)"$', text, re.MULTILINE)  # Python 3.10 has no tomllib
    return version[1] if is_ours and version else None


def _installed_version() -> str | None:
    """Return the version that pip recorded: a wheel holds no pyproject.toml."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(_DISTRIBUTION)
    except PackageNotFoundError:
        return None
