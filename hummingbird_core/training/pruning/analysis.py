"""Ablation of a teacher's blocks: remove one at a time and measure the loss.

Two measures. The loss is the distance between the rest of the U-Net and the whole teacher on the
same noisy clips: cheap, and defined for every model. The score is any validation metric of sampled
videos. No weights are trained in between, as in the paper's ablation (arXiv 2503.18559, section
3.1).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ...errors import InputError
from ...files import atomic_write
from ...inputs.json_text import read_json
from ...pipeline import HummingbirdPipeline
from ...sampling.noise import initial_noise
from ...sampling.schedule import add_noise, alphas_cumprod, scale_latents
from ...unet.model import HummingbirdUNet, UNetConfig
from ...weights.state_dict import count_parameters
from ..data.batch import ClipBatch
from .block_map import MIDDLE, map_without, student_config
from .block_removal import (
    Removal,
    level_of,
    removal_of_map,
    removals,
    without,
)

TIMESTEPS = (99, 299, 499, 699, 899)

Metric = Callable[[HummingbirdPipeline], float]  # higher is better


@dataclass(frozen=True)
class RemovalCost:
    """Measured cost of one removal.

    Attributes:
        kind, blocks: the removal; no blocks: the whole teacher.
        parameters: number of parameters removed.
        noise_loss: mean squared difference to the teacher's noise prediction, as in distillation.
        loss: noise_loss plus the mean squared difference of the predicted clean latents, which
            weights high noise: |d eps|^2 + |d x0|^2 = |d eps|^2 / a_t, the loss of velocity
            prediction (arXiv 2202.00512, section 4).
        score: the validation metric, or None without one; higher is better.
    """

    kind: str
    blocks: tuple[str, ...]
    parameters: int
    noise_loss: float
    loss: float
    score: float | None

    @property
    def removal(self) -> Removal:
        """Return the removal that was measured."""
        return Removal(self.kind, self.blocks)


@dataclass(frozen=True)
class ProbeSample:
    """A noised clip with the teacher's prediction for it.

    Attributes:
        sample: noised latents `[1, 4, T, h, w]`.
        t: timestep of the noise.
        context: text embedding `[1, 77, C]`, or one text a frame `[1, T, 77, C]`.
        fps: frame rate `[1]`.
        target: noise predicted by the teacher, `[1, 4, T, h, w]`.
    """

    sample: Tensor
    t: int
    context: Tensor
    fps: Tensor
    target: Tensor


@torch.no_grad()
def teacher_targets(pipe: HummingbirdPipeline, clips: ClipBatch) -> list[ProbeSample]:
    """Return the teacher's predictions for every clip at every one of `TIMESTEPS`.

    Clip i is noised with seed i.
    """
    unet, scaled = pipe.unet, pipe.unet.config.dynamic_rescale
    context = pipe.encode_prompt(clips.captions, num_frames=clips.latents.shape[2])
    probes = []
    for i in range(len(clips.captions)):
        latents = clips.latents[i : i + 1].float()
        noise = initial_noise(tuple(latents.shape), i)
        for t in TIMESTEPS:
            clean = scale_latents(latents, t) if scaled else latents
            sample = add_noise(clean, noise.to(clean), t).to(pipe.device, pipe.dtype)
            text, fps = context[i : i + 1].to(sample), clips.fps[i : i + 1].to(pipe.device)
            target = unet(sample, t, text, fps=fps)
            probes.append(ProbeSample(sample, t, text, fps, target))
    return probes


@torch.no_grad()
def probe_losses(unet: HummingbirdUNet, probes: Iterable[ProbeSample]) -> tuple[float, float]:
    """Return `RemovalCost.noise_loss` and `.loss` of `unet` against the recorded targets."""
    alphas = alphas_cumprod()
    errors = []
    for probe in probes:
        eps = unet(probe.sample, probe.t, probe.context, fps=probe.fps)
        error = (eps - probe.target).float().square().mean().item()
        errors.append((error, error / alphas[probe.t].item()))
    noise_loss, loss = torch.tensor(errors, dtype=torch.float64).mean(dim=0).tolist()
    return noise_loss, loss


class Ranking:
    """Measured removals, saved one by one: an interrupted run repeats at most one measurement.

    Args:
        path: the JSON file; its rows are not measured again.
        settings: everything that the measurements depend on.

    Raises:
        InputError: the file exists, but was measured with other settings.
    """

    def __init__(self, path: Path, settings: dict[str, Any]):
        self.path, self.settings = path, settings
        self.rows = _read_costs(path, settings)

    def measure(
        self,
        pipe: HummingbirdPipeline,
        wanted: Iterable[Removal],
        probes: list[ProbeSample],
        metric: Metric | None,
    ) -> None:
        """Measure the `wanted` removals that are not in the file yet, with a progress bar."""
        known = {row.removal for row in self.rows}
        todo = [removal for removal in wanted if removal not in known]
        for removal in tqdm(todo, desc="removals", unit="removal", disable=None):
            self.rows.append(_measure(pipe, removal, probes, metric))
            self.save()

    def row(self, removal: Removal) -> RemovalCost:
        """Return the measured cost of `removal`."""
        return next(row for row in self.rows if row.removal == removal)

    def of_kind(self, *kinds: str) -> list[RemovalCost]:
        """Return the rows of these kinds, smallest loss first."""
        return sorted((r for r in self.rows if r.kind in kinds), key=lambda row: row.loss)

    def save(self, **more: Any) -> None:
        """Write the file; `more` adds top-level entries."""
        rows = [asdict(row) for row in self.rows]
        with atomic_write(self.path) as temporary:
            text = json.dumps({"settings": self.settings, **more, "rows": rows}, indent=1)
            temporary.write_text(text + "\n", encoding="utf-8")


def all_removals(unet: HummingbirdUNet) -> list[Removal]:
    """Return the removal of nothing, as the reference, and every possible removal."""
    return [Removal("teacher", ()), *removals(unet)]


def check_budget(unet: HummingbirdUNet, budget: float) -> None:
    """Refuse an unreachable budget before anything is measured.

    Runs `propose` with the number of remaining parameters as the loss of a removal.

    Raises:
        InputError: no student is that small.
    """
    whole = count_parameters(unet.parameters())
    rows = []
    for removal in removals(unet):
        left = count_parameters(without(unet, removal).parameters())
        rows.append(RemovalCost(removal.kind, removal.blocks, whole - left, left, left, None))
    propose(unet.config, rows, budget)


def propose(config: UNetConfig, rows: Iterable[RemovalCost], budget: float) -> Removal:
    """Return the cheapest removal that leaves at most `budget` of the teacher's parameters.

    A U-Net of the family has equally many ResBlocks on every level, so candidates are the middle
    block, one pair of every level, the lowest levels, and combinations of them. Each level loses
    its pair with the smallest loss; among the shapes within the budget, the one with the smallest
    sum of losses wins. That sum is an estimate: measure the proposal as a whole.

    Raises:
        InputError: no student is that small.
    """
    options = _options(config, sorted(rows, key=lambda row: row.loss))
    whole = _size(config)
    shares = {option: _size(_student(config, option)) / whole for option in options}
    fitting = [option for option in options if shares[option] <= budget]
    if not fitting:
        least = min(shares.values(), default=1.0)
        raise InputError(
            f"got a budget of {budget:g} of the teacher's parameters, expected at least "
            f"{least:.3f}, the share of the smallest student"
        )
    removed = min(fitting, key=lambda option: options[option])
    return removal_of_map(config, map_without(config, set(removed)))


def _options(config: UNetConfig, rows: list[RemovalCost]) -> dict[tuple[str, ...], float]:
    """Return sets of removable blocks with the sum of their losses; `rows`: smallest loss first."""
    pairs: dict[int | None, RemovalCost] = {}
    for row in rows:
        if row.kind == "pair" and config.num_res_blocks > 1:
            pairs.setdefault(level_of(config, row.blocks[0]), row)
    middle = [row for row in rows if row.kind == "bypass" and row.blocks == (MIDDLE,)]
    choices = [middle, [*pairs.values()], [*pairs.values(), *middle]]
    for lowest in (row for row in rows if row.kind == "lowest"):
        gone = {level_of(config, block) for block in lowest.blocks}
        left = [row for level, row in pairs.items() if level not in gone]
        choices += [[lowest], [lowest, *left]]
    return {
        tuple(block for row in rows for block in row.blocks): sum(row.loss for row in rows)
        for rows in choices
        if rows
    }


def _student(config: UNetConfig, removed: tuple[str, ...]) -> UNetConfig:
    return student_config(config, map_without(config, set(removed)))


def _size(config: UNetConfig) -> int:
    return count_parameters(HummingbirdUNet(config, device="meta").parameters())


def _measure(
    pipe: HummingbirdPipeline,
    removal: Removal,
    probes: list[ProbeSample],
    metric: Metric | None,
) -> RemovalCost:
    unet = without(pipe.unet, removal)
    noise_loss, loss = probe_losses(unet, probes)
    return RemovalCost(
        kind=removal.kind,
        blocks=removal.blocks,
        parameters=count_parameters(pipe.unet.parameters()) - count_parameters(unet.parameters()),
        noise_loss=noise_loss,
        loss=loss,
        score=metric(HummingbirdPipeline(unet, pipe.vae, pipe.text_encoder)) if metric else None,
    )


def _read_costs(path: Path, settings: dict[str, Any]) -> list[RemovalCost]:
    if not path.exists():
        return []
    try:
        record = read_json(path)
        rows = [RemovalCost(**{**row, "blocks": tuple(row["blocks"])}) for row in record["rows"]]
        measured_with = record["settings"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"cannot read {path} as a ranking of blocks ({error}): choose another name"
        ) from error
    if measured_with != settings:
        raise InputError(
            f"got {path}, which was measured with other settings: choose another name, or delete it"
        )
    return rows
