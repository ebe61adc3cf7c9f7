"""A tiny distillation: models of some thousand weights, real objectives, the built-in world.

As a script it trains in child processes, several together or one that kills itself on the way:

    python tiny_training.py '[{"folder": "a", "processes": 4}, {"folder": "b", "kill_at": 5}]'

The children are forked after the imports, which take longer than all the training.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import socket
import sys
import traceback
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import torch
from torch import nn

from hummingbird_core.lora.layers import inject_lora, new_lora
from hummingbird_core.nano.latents import clamp_to_range
from hummingbird_core.training.data.batch import batch_of
from hummingbird_core.training.data.nano_clips import NanoClips
from hummingbird_core.training.distillation.losses import Consistency, OutputKD
from hummingbird_core.training.distillation.noise import NoiseConfig
from hummingbird_core.training.distillation.predictions import Models
from hummingbird_core.training.distillation.step import (
    DistillationLoss,
    Step,
    draw_step,
    weighted_terms,
)
from hummingbird_core.training.loop.config import TrainConfig
from hummingbird_core.training.loop.micro_batch import MicroBatch
from hummingbird_core.training.loop.modules import freeze
from hummingbird_core.training.loop.phase import Loss, Phase
from hummingbird_core.training.loop.trainer import train
from hummingbird_core.training.nano.text import CONTEXT_DIM, build_text_encoder
from hummingbird_core.training.pruning.block_map import prune
from hummingbird_core.unet import HummingbirdUNet, UNetConfig

TEACHER = UNetConfig(
    model_channels=8,
    channel_mult=(1, 1),
    attention_levels=(1,),
    head_channels=4,
    context_dim=CONTEXT_DIM,
    norm_groups=4,
)
STUDENT = replace(TEACHER, num_res_blocks=1, middle_block=False, guidance_embedding=True)
GRID = NoiseConfig(timesteps="grid", guidance=(1.0, 9.0))
OWN = NoiseConfig(samples="on_policy", guidance=(1.0, 9.0))
STAGE_1 = NoiseConfig(guidance=(11.0, 11.0), dynamic_rescale=True)
FRAMES = 3
MICRO_BATCH = MicroBatch(seed=0, step=0, size=2)


def a_step(models=None, settings=GRID, micro_batch=MICRO_BATCH) -> Step:
    models = models or tiny_models()
    return draw_step(micro_batch, batch_of(NanoClips(FRAMES), micro_batch), models, settings)


def tiny_models(teacher: UNetConfig = TEACHER, student: UNetConfig = STUDENT) -> Models:
    """A random teacher, a random text encoder, and a student made of the teacher's blocks."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        big, small = HummingbirdUNet(teacher), HummingbirdUNet(student)
        text_encoder = build_text_encoder()
    prune(big, small)
    for module in (big, text_encoder):
        freeze(module, "fp32")
    return Models(small, big, text_encoder, clamp_latents=clamp_to_range)


def tiny_loss(models: Models, noise: NoiseConfig = GRID, **objectives) -> DistillationLoss:
    objectives = objectives or {"output_kd": OutputKD(), "consistency": Consistency()}
    return DistillationLoss(NanoClips(num_frames=3), models, objectives, noise)


def run(
    folder: str,
    kill_at: int = -1,
    lora: bool = False,
    own: bool = False,
    critic: bool = False,
    precision: str = "fp32",
    scale: float = 1.0,
    **settings,
) -> None:
    """One training run; `kill_at` is the step in the middle of which it dies.

    With `own` on the student's own samples, with `critic` against a critic. A small `scale` of the
    loss makes the rounding of gradients small beside Adam's epsilon, which else makes a whole step
    of it where a gradient is nearly zero.
    """
    torch.set_num_threads(1)
    models = tiny_models()
    if lora:
        generator = torch.Generator().manual_seed(0)
        inject_lora(models.student, new_lora(models.student, 2, 2.0, generator))
    loss = tiny_loss(models, OWN, output_kd=OutputKD()) if own else tiny_loss(models)

    phases = [critic_phase(models, kill_at)] if critic else []
    loss = against(phases[0].model, loss) if critic else mortal(loss, kill_at, scale)
    defaults = {"steps": 4, "learning_rate": 1e-3, "batch": 4, "ema_decay": 0.9, "save_every": 2}
    train(
        "tiny",
        models.student,
        loss,
        TrainConfig(**{**defaults, "precision": precision, **settings}),
        Path(folder),
        phases=phases,
    )


def mortal(loss: Loss, kill_at: int, scale: float = 1.0) -> Loss:
    """Return a scaled loss that kills its process in the update `kill_at`."""

    def mortal_loss(micro_batch: MicroBatch) -> dict[str, torch.Tensor]:
        terms = loss(micro_batch)
        if micro_batch.step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return {name: scale * term for name, term in terms.items()}

    return mortal_loss


def critic_phase(models: Models, kill_at: int) -> Phase:
    """Two updates a step of a critic that tells clips from the student's noise."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        critic = nn.Sequential(nn.Conv3d(4, 4, 3, padding=1), nn.SiLU(), nn.Conv3d(4, 1, 3))

    def loss(micro_batch: MicroBatch) -> dict[str, torch.Tensor]:
        step = a_step(models, GRID, micro_batch)
        with torch.no_grad():
            fake = step.student.eps
        real = batch_of(NanoClips(FRAMES), micro_batch).latents
        hinge = (1 - critic(real)).relu().mean() + (1 + critic(fake)).relu().mean()
        return {"hinge": hinge}

    dying = mortal(loss, 2 * kill_at + 1)  # in the second of two updates
    return Phase("critic", critic, dying, updates=2, learning_rate=2e-3, betas=(0.0, 0.9))


def against(critic: nn.Module, loss: DistillationLoss) -> Loss:
    """Add the critic's opinion of the student's noise to a loss."""

    def adversarial(micro_batch: MicroBatch) -> dict[str, torch.Tensor]:
        step = a_step(loss.models, loss.noise, micro_batch)
        return {**weighted_terms(loss.objectives, step), "fooled": -critic(step.student.eps).mean()}

    return adversarial


def fork(processes: int = 1, **arguments) -> list[int]:
    """`run` in several processes together; their exit codes, negative for a signal."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(processes):
        child = os.fork()
        if child == 0:
            os._exit(_child(rank, processes, port, arguments))
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def fork_again(arguments: dict) -> None:
    """`fork`, and once more after a crash of a process, from the saved state as after any kill.

    Seen once: of two processes with shards one was gone, without a word, and the other's connection
    was reset. `faulthandler` writes where it was, should it happen again.
    """
    codes = fork(**arguments)
    if min(codes) < 0 and "kill_at" not in arguments:
        sys.stderr.write(f"CRASHED: {arguments} ended with {codes}\n")
        codes = fork(**arguments)
    if max(codes) > 0 or ("kill_at" in arguments) != (min(codes) < 0):
        sys.exit(f"got exit codes {codes} of {arguments}")


def _child(rank: int, processes: int, port: int, arguments: dict) -> int:
    """Runs, and never returns to what the parent was doing; its exit code."""
    try:
        if processes > 1:
            _join(rank, processes, port)
        run(**arguments)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _join(rank: int, processes: int, port: int) -> None:
    """Set the environment variables that torchrun sets."""
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(processes),
        LOCAL_WORLD_SIZE=str(processes),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )


if __name__ == "__main__":
    for package in ("accelerate", "peft", "torch.utils.tensorboard"):
        with suppress(ImportError):
            import_module(package)  # here once, and not in every child
    faulthandler.enable()
    for arguments in json.loads(sys.argv[1]):
        fork_again(arguments)
