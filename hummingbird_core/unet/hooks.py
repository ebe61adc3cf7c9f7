"""Extension points of the U-Net's forward pass, for applications that let users change it.

Shapes: B videos, T frames, C channels, H x W latent pixels, S = H*W, E channels of the embedding.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..cpu.kernels import attention
from .text import Text


class UNetHooks:
    """Functions that a forward pass calls at fixed places; these here change nothing.

    A subclass overrides the places that it changes. One object serves one forward pass.
    """

    def enter(self, part: str, index: int) -> None:
        """Note which block is next.

        Args:
            part: "input", "middle" or "output". The middle is passed without a block, too.
            index: of the block in that part.
        """

    def embedding(self, embedding: Tensor) -> Tensor:
        """Return the embedding of timestep, frame rate and guidance `[B, E]` to use."""
        return embedding

    def after_block(self, x: Tensor) -> Tensor:
        """Return the features `[B*T, C, H, W]` to keep as skip connection, or for the next part."""
        return x

    def after_skip(self, x: Tensor) -> Tensor:
        """Return the features `[B*T, C, H, W]` for the next input block; the skip stays."""
        return x

    def join(self, x: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        """Return features and skip connection, `[B*T, C, H, W]` each, to concatenate."""
        return x, skip

    def transform(self, block: nn.Module, x: Tensor, text: Text | None, height: int) -> Tensor:
        """Apply a `TransformerBlock`.

        Args:
            block: the block.
            x: tokens `[B, T, S, C]`.
            text: one a video or a mix for each frame; None in temporal transformers.
            height: H.

        Returns:
            The new tokens, `[B, T, S, C]`.
        """
        return block(x, text, self.attend)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return softmax(q k^T / sqrt(d)) v for `[batch, heads, sequence, d]` each."""
        return attention(q, k, v)


PLAIN = UNetHooks()
