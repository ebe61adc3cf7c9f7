"""Setup of one or several processes, on CPUs or GPUs, with `accelerate` and FSDP2."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ...devices import best_device
from ...errors import InputError, MissingPackageError
from ...unet.layers import UNetBlock
from .config import TrainConfig

if TYPE_CHECKING:
    from accelerate import Accelerator, PartialState
    from torch.distributed.fsdp import FSDPModule

# A process that has encoded its share of the latents waits for the others.
PROCESS_TIMEOUT = timedelta(days=2)
ACCELERATE_NAMES = {"fp32": "no", "fp16": "fp16", "bf16": "bf16"}


def distributed_state() -> PartialState:
    """Return this process's device, its index, and the number of processes.

    Frozen models used in training belong on the same device.

    Raises:
        MissingPackageError: accelerate is not installed.
        InputError: the processes that were started could not connect to each other.
    """
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise MissingPackageError(
            "got no package accelerate, expected it for training: "
            "pip install peft accelerate pyyaml tensorboard"
        ) from error
    # Without a GPU, accelerate connects to other processes only with cpu=True.
    state = PartialState(cpu=best_device().type == "cpu", timeout=PROCESS_TIMEOUT)
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if state.num_processes != started:  # each would train alone, and overwrite the others' files
        raise InputError(
            f"got {state.num_processes} connected of {started} processes, expected all: start them "
            "with torchrun"
        )
    return state


def make_accelerator(settings: TrainConfig) -> Accelerator:
    """Return an accelerator for the precision of `settings`, over all processes.

    Raises:
        MissingPackageError: accelerate is not installed.
        InputError: device or number of processes do not support the precision or sharding.
    """
    state = distributed_state()
    from accelerate import Accelerator

    try:
        accelerator = Accelerator(
            cpu=state.device.type == "cpu", mixed_precision=ACCELERATE_NAMES[settings.precision]
        )
    except ValueError as error:  # fp16 on a CPU, or another precision earlier in this process
        raise InputError(
            f"got precision {settings.precision}, expected one that works here: try bf16 or fp32 "
            f"({error})"
        ) from error
    if settings.sharding != "none":
        _check_sharding(settings, state.num_processes)
    return accelerator


def _check_sharding(settings: TrainConfig, processes: int) -> None:
    if processes == 1:
        raise InputError(
            "got sharding fsdp2 in one process, expected several: start with torchrun, or set "
            "sharding to none"
        )
    if settings.precision == "fp16" or settings.optimizer == "adamw8bit":
        raise InputError(
            f"got sharding fsdp2 with {settings.precision} and {settings.optimizer}, expected fp32 "
            "or bf16 and adamw: neither a loss scale nor 8-bit states can be sharded"
        )


def distribute(accelerator: Accelerator, module: nn.Module, settings: TrainConfig) -> nn.Module:
    """Move `module` to this process's device; backward passes then average gradients."""
    if settings.sharding == "none":
        return accelerator.prepare_model(module)
    return _shard(module.to(accelerator.device), accelerator.device, settings)


def _shard(module: nn.Module, device: torch.device, settings: TrainConfig) -> nn.Module:
    """Shard each block of the U-Net, then the rest, over all processes (FSDP2)."""
    dtypes = sorted({str(weight.dtype).removeprefix("torch.") for weight in module.parameters()})
    if len(dtypes) > 1:
        raise InputError(
            f"got sharding fsdp2 for a LoRA with weights in {' and '.join(dtypes)}, expected one "
            "precision: set training.precision to fp32, or lora_rank to 0, or sharding to none"
        )
    try:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
    except ImportError as error:
        raise MissingPackageError(
            f"got PyTorch {torch.__version__}, expected 2.6 or newer for sharding fsdp2: "
            "update it, or set sharding to none"
        ) from error
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    half = torch.bfloat16 if settings.precision == "bf16" else None
    # Weights are gathered in bf16, gradients reduced in fp32; autocast casts the inputs.
    policy = MixedPrecisionPolicy(half, torch.float32, cast_forward_inputs=False)
    for block in module.modules():
        if isinstance(block, UNetBlock):
            block.register_forward_hook(_copy_output)  # before the hooks of FSDP2
            fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(module, mesh=mesh, mp_policy=policy)
    return module


def _copy_output(block: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    """Return a block's output in separate memory.

    With one clip at a time it is a view, and an in-place operation on a view would remove the hook
    with which FSDP2 gathers the block's weights for the backward pass; FSDP2 warns of it.
    """
    return output.clone()


def is_sharded(module: nn.Module) -> bool:
    """Return whether `distribute` has sharded the weights of a module."""
    return hasattr(module, "set_requires_gradient_sync")  # FSDP2 has no class to look for


@contextmanager
def no_sync(module: nn.Module) -> Iterator[None]:
    """Keep gradients in each process; a later backward pass reduces their sum."""
    if isinstance(module, DistributedDataParallel):
        with module.no_sync():
            yield
    elif is_sharded(module):
        sharded = cast("FSDPModule", module)
        sharded.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            sharded.set_requires_gradient_sync(True)
    else:
        yield
