"""Settings of the training loop."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ...errors import InputError
from ..configs import check_field

FINAL_RATE = 0.05  # of the peak learning rate, where the cosine ends


@dataclass(frozen=True)
class TrainConfig:
    """Settings of the training loop, for every model.

    Args:
        steps: optimizer steps.
        learning_rate: peak value.
        warmup: steps of linear rise to the peak.
        decay: after the warm-up: "constant", or a "cosine" down to a twentieth.
        batch: clips of a step, over all processes.
        micro_batch: clips a process computes at once; gradients accumulate over the rounds. 0: its
            whole share at once.
        optimizer: "adamw", or "adamw8bit" to save memory where bitsandbytes is installed.
        betas: of AdamW.
        weight_decay: of AdamW.
        clip_norm: maximum norm of the gradient; 0 disables clipping.
        ema_decay: of the averaged weights, which are then the result; 0 for none.
        precision: of the computation; trained weights stay fp32.
        sharding: "none", or "fsdp2" to shard weights and optimizer over the processes.
        save_every: steps between training states on disk.
        keep_last: saved states whose weights stay in `checkpoints/` as usable files; 0 for none.
        keep_best: whether the weights of the best validation, by its judge, stay there too. In a
            recipe, that is `validation.judge`; without one, no validation is the best.
        validate_every: steps between validations, which also run at start and end; 0 for none.
        seed: of all random numbers.
    """

    steps: int
    learning_rate: float
    warmup: int = 0
    decay: Literal["constant", "cosine"] = "constant"
    batch: int = 1
    micro_batch: int = 0
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    ema_decay: float = 0.0
    precision: Literal["fp32", "fp16", "bf16"] = "fp32"
    sharding: Literal["none", "fsdp2"] = "none"
    save_every: int = 100
    keep_last: int = 1
    keep_best: bool = True
    validate_every: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "save_every"):
            check_field(self, name, "at least 1", getattr(self, name) >= 1)
        at_least_0 = ("warmup", "micro_batch", "validate_every", "clip_norm", "weight_decay")
        for name in (*at_least_0, "keep_last"):
            check_field(self, name, "0 or more", 0 <= getattr(self, name) < math.inf)
        check_field(
            self, "learning_rate", "more than 0, such as 1e-5", 0 < self.learning_rate < math.inf
        )
        check_field(self, "ema_decay", "0 to below 1, such as 0.999", 0 <= self.ema_decay < 1)
        check_field(
            self, "betas", "two numbers from 0 to 1", all(0 <= beta < 1 for beta in self.betas)
        )

    def rate(self, step: int) -> float:
        """Return the learning rate at `step`."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        if self.decay == "constant":
            return self.learning_rate
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        cosine = 0.5 * (1 + math.cos(math.pi * done))
        return self.learning_rate * (FINAL_RATE + (1 - FINAL_RATE) * cosine)

    def micro_batch_size(self, processes: int) -> int:
        """Return the number of clips each process computes at once.

        Raises:
            InputError: the batch is no multiple of micro-batches in all processes.
        """
        size = self.micro_batch or max(1, self.batch // processes)
        if self.batch % (size * processes):
            raise InputError(
                f"got a batch of {self.batch} clips, expected a multiple of {size * processes}, "
                f"that is of {size} at once in {processes} processes: change batch or micro_batch"
            )
        return size


# What the small models that are trained from scratch have in common; each sets what differs.
SMALL_MODEL = TrainConfig(
    steps=1,
    learning_rate=2e-3,
    warmup=30,
    decay="cosine",
    betas=(0.9, 0.99),
    weight_decay=1e-3,
    ema_decay=0.99,
    save_every=50,
)
