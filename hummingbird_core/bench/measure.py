"""Timing of equal computations: every ratio of times requires a check of the results.

Variants of a computation take turns within one run, so that a slowdown of the machine affects all
of them. Warm-up runs come first; medians are reported. (torch.utils.benchmark times one statement
at a time: it has neither turns, nor CPU time of all cores, nor times of parts, nor the results.)
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..errors import InputError, NumericalError, first_line, memory_advice
from ..terminal import get_logger

EXACT = 1e-4  # relative L2 that counts as equal in float32
ROUNDED = 3e-2  # the same where bfloat16, float16 or fp8 round on the way
TOTAL = "total"


@dataclass(frozen=True)
class Seconds:
    """Time of one run: wall-clock, and CPU time of all cores."""

    wall: float
    cpu: float

    def to_dict(self) -> dict[str, float]:
        """Return {"wall": seconds, "cpu": seconds}."""
        return {"wall": self.wall, "cpu": self.cpu}


class Stopwatch:
    """Stopwatch for the parts of one run.

    Args:
        device: device of the work; a GPU is synchronized before the clock is read.
    """

    def __init__(self, device: torch.device | str = "cpu"):
        self.device = torch.device(device)
        self.parts: dict[str, Seconds] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time the `with` block as part `name`."""
        wall, cpu = self._now()
        yield
        wall_after, cpu_after = self._now()
        self.parts[name] = Seconds(wall_after - wall, cpu_after - cpu)

    def _now(self) -> tuple[float, float]:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter(), time.process_time()


@dataclass(frozen=True)
class Variant:
    """One of several implementations of the same computation.

    Args:
        name: name in the table.
        run: computes the result; may time its parts with the stopwatch.
    """

    name: str
    run: Callable[[Stopwatch], Tensor]


@dataclass(frozen=True)
class Timing:
    """Median times of one variant; `parts` includes the whole as "total"."""

    name: str
    parts: dict[str, Seconds]

    @property
    def total(self) -> Seconds:
        """Return the time of the whole run."""
        return self.parts[TOTAL]


@dataclass(frozen=True)
class Equality:
    """Checked distance of results from a reference.

    Attributes:
        reference: name of the reference.
        covered: names of the variants whose results were compared.
        distance: largest relative L2.
        tolerance: largest accepted relative L2.
    """

    reference: str
    covered: tuple[str, ...]
    distance: float
    tolerance: float

    @classmethod
    def of(
        cls, reference: str, expected: Tensor, results: dict[str, Tensor], tolerance: float = EXACT
    ) -> Equality:
        """Compare `results` (variant name -> output) with `expected`.

        Raises:
            NumericalError: a distance exceeds `tolerance`, or is NaN.
        """
        distance = max(relative_l2(result, expected) for result in results.values())
        return cls(reference, tuple(results), distance, tolerance)

    def __post_init__(self) -> None:
        if not self.distance <= self.tolerance:  # refuses NaN too
            raise NumericalError(
                f"{' and '.join(self.covered)} gave results {self.distance:.2g} away from "
                f"{self.reference}, expected at most {self.tolerance:.2g}: their times can't be "
                "compared"
            )

    def joined(self, other: Equality) -> Equality:
        """Merge two checks against the same reference."""
        if self.reference != other.reference:
            raise InputError(
                f"got checks against {self.reference} and {other.reference}, expected one reference"
            )
        distance = max(self.distance, other.distance)
        tolerance = max(self.tolerance, other.tolerance)
        return Equality(self.reference, self.covered + other.covered, distance, tolerance)

    def check_covers(self, *names: str) -> None:
        """Raise InputError unless the results of all these variants were compared."""
        missing = set(names) - {self.reference, *self.covered}
        if missing:
            raise InputError(
                f"got no check of the results of {', '.join(sorted(missing))}, expected one "
                f"besides {', '.join(self.covered)}: compare them before reporting a speed"
            )


@dataclass(frozen=True)
class Speedup:
    """A ratio of times; requires the check that both variants compute the same.

    Raises:
        InputError: the check is missing, or does not cover both variants.
    """

    baseline: Timing
    measured: Timing
    equality: Equality

    def __post_init__(self) -> None:
        if not isinstance(self.equality, Equality):
            raise InputError(
                f"got equality {self.equality!r}, expected an Equality: compare the results of "
                f"{self.baseline.name} and {self.measured.name} before reporting a speed"
            )
        self.equality.check_covers(self.baseline.name, self.measured.name)

    def to_dict(self) -> dict[str, Any]:
        """Return seconds, speed-up and checked distance for each clock."""
        return {
            "name": self.measured.name,
            "against": self.baseline.name,
            **{clock: self._ratio(clock) for clock in ("wall", "cpu")},
        }

    def _ratio(self, clock: str) -> dict[str, float]:
        before, after = (getattr(t.total, clock) for t in (self.baseline, self.measured))
        return {
            "seconds": after,
            "speedup": before / after if after else float("inf"),
            "equality": self.equality.distance,
        }


@dataclass(frozen=True)
class Repeats:
    """Number of runs of each variant.

    Args:
        measured: minimal number of measured runs; their median is reported.
        warm_up: unmeasured runs before them.
        seconds: minimal duration of all measured runs; three runs of a few ms are too noisy.
    """

    measured: int = 3
    warm_up: int = 1
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.measured < 1 or self.warm_up < 0:
            raise InputError(
                f"got {self.measured} measured and {self.warm_up} warm-up runs, expected at "
                "least 1 and 0"
            )


@dataclass
class Measurements:
    """Timings and results of the variants that fit into memory."""

    timings: dict[str, Timing] = field(default_factory=dict)
    results: dict[str, Tensor] = field(default_factory=dict)

    def speedup(
        self, variant: str, baseline: str, reference: str | None = None, tolerance: float = EXACT
    ) -> Speedup:
        """Return the speed-up of `variant` over `baseline`, both checked against `reference`.

        Args:
            variant: name of the measured variant.
            baseline: name of the variant to compare with.
            reference: name of the correct variant; default: the baseline.
            tolerance: largest relative L2 of the results from the reference.

        Raises:
            NumericalError: a result exceeds the tolerance.
        """
        reference = reference or baseline
        names = {variant} if baseline == reference else {variant, baseline}
        results = {name: self.results[name] for name in names}
        equality = Equality.of(reference, self.results[reference], results, tolerance)
        return Speedup(self.timings[baseline], self.timings[variant], equality)

    def row(
        self, variant: str, baseline: str, reference: str | None = None, tolerance: float = EXACT
    ) -> dict[str, Any]:
        """Return `speedup` as a table row, or a row that names the variants that do not fit."""
        missing = self.missing(variant, baseline, reference or baseline)
        if missing:
            return row_without(variant, baseline, missing)
        return self.speedup(variant, baseline, reference, tolerance).to_dict()

    def missing(self, *names: str) -> list[str]:
        """Return the variants among `names` that do not fit into memory."""
        return [name for name in dict.fromkeys(names) if name not in self.timings]


def row_without(variant: str, baseline: str, missing: Sequence[str]) -> dict[str, Any]:
    """Return a row without a ratio: `missing` variants do not fit into memory."""
    return {
        "name": variant,
        "against": baseline,
        "note": "; ".join(f"{name}: does not fit" for name in missing),
    }


@torch.inference_mode()
def measure_variants(
    variants: Sequence[Variant], repeats: Repeats, device: torch.device | str = "cpu"
) -> Measurements:
    """Run all variants in turn, repeatedly; those that do not fit into memory are left out."""
    fitting = list(variants)
    for _ in range(repeats.warm_up):
        fitting = [variant for variant in fitting if row_or_out_of_memory(_run, variant, device)]
    runs: dict[str, list[dict[str, Seconds]]] = {variant.name: [] for variant in variants}
    results, rounds, start = {}, 0, time.perf_counter()
    while fitting and (rounds < repeats.measured or time.perf_counter() - start < repeats.seconds):
        rounds += 1
        for variant in list(fitting):
            found = row_or_out_of_memory(_run, variant, device)
            if found is None:
                fitting.remove(variant)
                continue
            parts, results[variant.name] = found
            runs[variant.name].append(parts)
    timings = {
        variant.name: Timing(variant.name, _medians(runs[variant.name])) for variant in fitting
    }
    return Measurements(timings, results)


def _run(variant: Variant, device: torch.device | str) -> tuple[dict[str, Seconds], Tensor]:
    """Run once; return the times of the parts and the result in float32 on the CPU."""
    watch = Stopwatch(device)
    with watch.part(TOTAL):
        result = variant.run(watch)
    return watch.parts, result.float().cpu()


def relative_l2(got: Tensor, expected: Tensor) -> float:
    """Return |got - expected| / |expected| over the whole tensor, in float64."""
    got, expected = got.double(), expected.double()
    return float((got - expected).norm() / expected.norm())


def _medians(runs: Sequence[dict[str, Seconds]]) -> dict[str, Seconds]:
    return {
        part: Seconds(
            statistics.median(run[part].wall for run in runs),
            statistics.median(run[part].cpu for run in runs),
        )
        for part in runs[0]
    }


logger = get_logger(__name__)

Output = TypeVar("Output")


def row_or_out_of_memory(function: Callable[..., Output], *args: Any) -> Output | None:
    """Return the result of `function`; if memory runs out, log a warning and return None."""
    try:
        return function(*args)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        logger.warning("this does not fit into memory: %s", first_line(error))
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out.

    A child process that died silently counts: the system kills processes that take too much.
    """
    return isinstance(error, BrokenProcessPool) or memory_advice(error) is not None
