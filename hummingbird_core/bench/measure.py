"""Time, and the equality that gives it a meaning: no ratio of times exists here without both.

Ways to compute the same thing take turns within one run, so that a machine which slows down in the
meantime slows all of them. Each is run a few times unmeasured first; medians are reported.
"""

from __future__ import annotations

import logging
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

EXACT = 1e-4  # relative L2 that counts as equal in float32
ROUNDED = 3e-2  # the same where bfloat16, float16 or fp8 round on the way
TOTAL = "total"


@dataclass(frozen=True)
class Seconds:
    """Time of one run: on the clock, and of all processor cores together."""

    wall: float
    cpu: float

    def to_dict(self) -> dict[str, float]:
        return {"wall": self.wall, "cpu": self.cpu}


class Stopwatch:
    """Times the parts of one run.

    Args:
        device: where the work is done; a GPU is waited for before the clock is read.
    """

    def __init__(self, device: torch.device | str = "cpu"):
        self.device = torch.device(device)
        self.parts: dict[str, Seconds] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Everything inside the `with` counts as part `name`."""
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
    """One of several ways to compute the same thing.

    Args:
        name: as it appears in the table.
        run: computes it; may time parts of itself with the stopwatch.
    """

    name: str
    run: Callable[[Stopwatch], Tensor]


@dataclass(frozen=True)
class Timing:
    """Medians of several runs of one way."""

    name: str
    parts: dict[str, Seconds]
    """Of each part, and of the whole under "total"."""

    @property
    def total(self) -> Seconds:
        return self.parts[TOTAL]


@dataclass(frozen=True)
class Equality:
    """How far results are from a reference.

    Attributes:
        reference: what they were compared with.
        covered: the ways whose results were compared.
        distance: relative L2, the largest of them.
        tolerance: up to which they count as the same.
    """

    reference: str
    covered: tuple[str, ...]
    distance: float
    tolerance: float

    @classmethod
    def of(
        cls, reference: str, expected: Tensor, results: dict[str, Tensor], tolerance: float = EXACT
    ) -> Equality:
        """Compares `results` (name of the way -> its output) with `expected`.

        Raises:
            NumericalError: one is further away than `tolerance`, or NaN.
        """
        distance = max(relative_l2(result, expected) for result in results.values())
        return cls(reference, tuple(results), distance, tolerance)

    def __post_init__(self) -> None:
        if not self.distance <= self.tolerance:  # so that NaN is refused, too
            raise NumericalError(
                f"{' and '.join(self.covered)} gave results {self.distance:.2g} away from "
                f"{self.reference}, expected at most {self.tolerance:.2g}: their times can't be "
                "compared"
            )

    def joined(self, other: Equality) -> Equality:
        """Both checks as one, of results that have the same kind of reference."""
        if self.reference != other.reference:
            raise InputError(
                f"got checks against {self.reference} and {other.reference}, expected one reference"
            )
        distance = max(self.distance, other.distance)
        tolerance = max(self.tolerance, other.tolerance)
        return Equality(self.reference, self.covered + other.covered, distance, tolerance)

    def check_covers(self, *names: str) -> None:
        """Raises InputError unless the results of all these ways were compared."""
        missing = set(names) - {self.reference, *self.covered}
        if missing:
            raise InputError(
                f"got no check of the results of {', '.join(sorted(missing))}, expected one "
                f"beside {', '.join(self.covered)}: compare them before reporting a speed"
            )


@dataclass(frozen=True)
class Speedup:
    """A ratio of times, which can't be made without the check that both ways do the same.

    Raises:
        InputError: the check is missing, or is not of these two ways.
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
        """For each clock the seconds, the speed-up and the distance it was measured with."""
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
    """How often each way is run.

    Args:
        measured: runs that count, at least; the median of them is reported.
        warm_up: runs before them that do not.
        seconds: so long at least is measured: three runs of a few milliseconds say nothing.
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
    """What `measure` found: the timing of each way that fits, and what it computed."""

    timings: dict[str, Timing] = field(default_factory=dict)
    results: dict[str, Tensor] = field(default_factory=dict)

    def speedup(
        self, way: str, baseline: str, reference: str | None = None, tolerance: float = EXACT
    ) -> Speedup:
        """How much faster `way` is than `baseline`, both checked against `reference`.

        Args:
            way, baseline: names of two ways.
            reference: name of the way that is right; default: the baseline.
            tolerance: relative L2 that the results may be away from it.

        Raises:
            NumericalError: a result is further away.
        """
        reference = reference or baseline
        names = {way} if baseline == reference else {way, baseline}
        results = {name: self.results[name] for name in names}
        equality = Equality.of(reference, self.results[reference], results, tolerance)
        return Speedup(self.timings[baseline], self.timings[way], equality)

    def row(
        self, way: str, baseline: str, reference: str | None = None, tolerance: float = EXACT
    ) -> dict[str, Any]:
        """`speedup` for a table; where one of its ways does not fit, a row that says which."""
        missing = self.missing(way, baseline, reference or baseline)
        if missing:
            return row_without(way, baseline, missing)
        return self.speedup(way, baseline, reference, tolerance).to_dict()

    def missing(self, *names: str) -> list[str]:
        """Those of the ways that do not fit into memory."""
        return [name for name in dict.fromkeys(names) if name not in self.timings]


def row_without(way: str, baseline: str, missing: Sequence[str]) -> dict[str, Any]:
    """Instead of a ratio, for want of memory."""
    return {
        "name": way,
        "against": baseline,
        "note": "; ".join(f"{name}: does not fit" for name in missing),
    }


@torch.inference_mode()
def measure_variants(
    ways: Sequence[Variant], repeats: Repeats, device: torch.device | str = "cpu"
) -> Measurements:
    """Runs all ways in turn, again and again; those that do not fit into memory are left out."""
    fitting = list(ways)
    for _ in range(repeats.warm_up):
        fitting = [way for way in fitting if row_or_out_of_memory(_run, way, device)]
    runs: dict[str, list[dict[str, Seconds]]] = {way.name: [] for way in ways}
    results, rounds, start = {}, 0, time.perf_counter()
    while fitting and (rounds < repeats.measured or time.perf_counter() - start < repeats.seconds):
        rounds += 1
        for way in list(fitting):
            found = row_or_out_of_memory(_run, way, device)
            if found is None:
                fitting.remove(way)
                continue
            parts, results[way.name] = found
            runs[way.name].append(parts)
    timings = {way.name: Timing(way.name, _medians(runs[way.name])) for way in fitting}
    return Measurements(timings, results)


def _run(way: Variant, device: torch.device | str) -> tuple[dict[str, Seconds], Tensor]:
    """Once: the times of its parts, and what came out as float32 on the CPU."""
    watch = Stopwatch(device)
    with watch.part(TOTAL):
        result = way.run(watch)
    return watch.parts, result.float().cpu()


def relative_l2(got: Tensor, expected: Tensor) -> float:
    """|got - expected| / |expected| over the whole tensor, in float64."""
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


logger = logging.getLogger(__name__)

T = TypeVar("T")


def row_or_out_of_memory(function: Callable[..., T], *args: Any) -> T | None:
    """What `function` gives; None, and a warning, if that takes more memory than there is."""
    try:
        return function(*args)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        logger.warning("this does not fit into memory: %s", first_line(error))
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out.

    A process of ours that ended without a word counts: so a system ends what takes too much.
    """
    return isinstance(error, BrokenProcessPool) or memory_advice(error) is not None
