"""Hummingbird: small, fast text-to-video. Plain PyTorch, usable with or without ComfyUI."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .pipeline import HummingbirdPipeline

__all__ = ["HummingbirdPipeline", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the pipeline on first use (PEP 562), so that the package alone loads no torch."""
    if name != "HummingbirdPipeline":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .pipeline import HummingbirdPipeline

    return HummingbirdPipeline
