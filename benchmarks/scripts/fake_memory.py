"""Models without data, and the bytes that they would take: for estimates without a GPU."""

from __future__ import annotations

import weakref

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only


def faked(model: nn.Module, mode: FakeTensorMode) -> nn.Module:
    """Replace the weights by fake ones of the same sizes, frozen ones in bf16; return the model."""
    for module in model.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            if isinstance(weight, FakeTensor):  # shared with a model that is fake already
                continue
            dtype = weight.dtype if weight.requires_grad else torch.bfloat16
            setattr(
                module, name, nn.Parameter(fake_like(weight, dtype, mode), weight.requires_grad)
            )
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, fake_like(buffer, buffer.dtype, mode))
    return model


def fake_like(tensor: Tensor, dtype: torch.dtype, mode: FakeTensorMode) -> Tensor:
    """Return a fake tensor on the CPU; `tensor` may have no data itself."""
    with mode:
        return torch.empty(tensor.shape, dtype=dtype, device="cpu")


class LiveBytes(TorchDispatchMode):
    """Dispatch mode that sums the storages of live tensors created inside it.

    Attributes:
        now, peak: bytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        tree_map_only(Tensor, self.count, made)
        return made

    def count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        self._known.add(storage)
        self._change(storage.nbytes())
        weakref.finalize(storage, self._change, -storage.nbytes())

    def _change(self, size: int) -> None:
        self.now += size
        self.peak = max(self.peak, self.now)
