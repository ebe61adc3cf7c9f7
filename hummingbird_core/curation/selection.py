"""Selection: the only stage that decides which clips are kept, from measured columns.

Each rule limits a column to a minimum or maximum, absolute or as a quantile over all clips.
Near-duplicates are searched among the clips that pass all rules, so that a clip is never dropped in
favor of one that is dropped itself.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..vqa import Thresholds
from .copies import best_first, drop_copies, drop_repeated_scenes
from .measure import number_columns
from .similar import drop_similar, drop_surplus
from .stages.duplicates import MAX_DISTANCE
from .table import column_values, measured_columns

if TYPE_CHECKING:
    import pyarrow

# Standard deviation of the luma: underexposed images and fog have less, a night with lights more.
MIN_CONTRAST = 0.035
# The files of 28 clean shots have at most 35, the same shots by x264 at crf 50 46 to 51.
MAX_QUANTIZER = 40.0
MAX_OVERLAY = 0.01  # of the cells; a moving picture has none without text or a logo
# Clean synthetic clips stay below 0.1 and 3, a subject that fills a real picture reaches 0.7, and
# pictures that jump by up to 6 pixels of 240 begin at 2; see `camera_motion` for the units.
MAX_SHAKE = 1.0
MAX_DOLLY_ZOOM = 10.0
OTHER_SETTINGS = ("clips_per_scene", "max_similarity", "balance", "clusters")
_LIMIT = re.compile(r"(q?)([-+.\de]+)")


@dataclass(frozen=True)
class Limit:
    """An absolute limit, or with `quantile` the quantile `value` (0 to 1) over all clips.

    Attributes:
        value: the limit, or the share of clips below it.
        quantile: whether `value` is a share.
    """

    value: float
    quantile: bool = False

    @classmethod
    def parse(cls, text: str | float) -> Limit:
        """Parse `0.5` or, for the lowest fifth, `q0.2`.

        Raises:
            InputError: the text is neither.
        """
        match = _LIMIT.fullmatch(str(text).strip())
        try:
            value = float(match[2]) if match else math.nan
        except ValueError:
            value = math.nan
        quantile = bool(match and match[1])
        if not math.isfinite(value) or (quantile and not 0 <= value <= 1):
            raise InputError(f"got limit {text!r}, expected a number, or q0 to q1 for a quantile")
        return cls(value, quantile)

    def __str__(self) -> str:
        return (
            f"{'q' if self.quantile else ''}{self.value!r}"  # every digit, for an exact round trip
        )

    def of(self, values: np.ndarray) -> float:
        """Return the limit as a number.

        Args:
            values: the column, float [N], NaN where it was not measured.
        """
        if not self.quantile:
            return self.value
        known = values[~np.isnan(values)]
        return float(np.quantile(known, self.value)) if len(known) else 0.0


@dataclass(frozen=True)
class Rule:
    """The minimum and maximum of a column; None sets no limit."""

    minimum: Limit | None = None
    maximum: Limit | None = None

    def to_dict(self) -> dict[str, str]:
        """Return the rule in the format of a selection file."""
        limits = {"min": self.minimum, "max": self.maximum}
        return {name: str(limit) for name, limit in limits.items() if limit is not None}


@dataclass(frozen=True)
class SelectionConfig:
    """Settings that determine which clips are kept.

    Args:
        rules: column -> rule.
        duplicate_distance: maximum Hamming distance of the 192-bit hashes of copies; None keeps
            copies.
        best_by: of a group of copies the clip with the highest value in this column is kept; None
            keeps the clip with the fewest defects, of these the largest, and then the sharpest.
        clips_per_scene: number of clips of one video that may show the same scene, as all those of
            a fixed camera do; None sets no limit.
        max_similarity: cosine of the embeddings of clips that show the same; None keeps them. This
            and `balance` need embeddings.
        balance: number of clips to keep, evenly over clusters of embeddings; None keeps all.
        clusters: number of these clusters; None takes the square root of the number of clips.
    """

    rules: Mapping[str, Rule] = field(default_factory=lambda: DEFAULT_RULES)
    duplicate_distance: int | None = 16
    best_by: str | None = None
    clips_per_scene: int | None = 3
    max_similarity: float | None = None
    balance: int | None = None
    clusters: int | None = None

    def __post_init__(self) -> None:
        distance = self.duplicate_distance
        is_whole = isinstance(distance, int) and not isinstance(distance, bool)
        if distance is not None and not (is_whole and 0 <= distance <= MAX_DISTANCE):
            raise InputError(
                f"got duplicate distance {distance!r}, expected 0 to {MAX_DISTANCE} bits, or none"
            )
        for name in ("clips_per_scene", "balance", "clusters"):
            value = getattr(self, name)
            if value is not None and not (type(value) is int and value >= 1):
                raise InputError(f"got {name} {value!r}, expected a number from 1, or none")
        limit = self.max_similarity
        if limit is not None and not (type(limit) in (int, float) and 0 < limit <= 1):
            raise InputError(f"got max_similarity {limit!r}, expected above 0, at most 1, or none")
        if not isinstance(self.best_by, str | None):
            raise InputError(f"got best_by {self.best_by!r}, expected the name of a column")

    @property
    def needs_embeddings(self) -> bool:
        """Return whether the choice depends on embeddings."""
        return self.max_similarity is not None or self.balance is not None

    def to_json(self) -> str:
        """Return the settings in the format of `read_selection`."""
        lifted: dict[str, Any] = dict.fromkeys(DEFAULT_RULES)
        content = {
            "rules": lifted | {name: rule.to_dict() for name, rule in self.rules.items()},
            "duplicate_distance": self.duplicate_distance,
            "best_by": self.best_by,
            **{name: getattr(self, name) for name in OTHER_SETTINGS},
        }
        return json.dumps(content, indent=2) + "\n"


def _default_rules() -> dict[str, Rule]:
    """Default rejection rules, independent of the dataset; the first match is reported.

    Limits of measures of `vqa.measure` are those of `vqa.Thresholds`.
    """
    limits = Thresholds()
    return {
        "black_fraction": _at_most(limits.black_fraction),
        "flat_fraction": _at_most(limits.flat_fraction),
        "transition": _at_most(0),
        "num_frames": _at_least(16),  # the models' training length
        "contrast": _at_least(MIN_CONTRAST),
        "bright_clipped": _at_most(limits.overexposed),
        "blur": _at_most(limits.blur),
        "blockiness": _at_most(limits.blockiness),
        "quantizer": _at_most(MAX_QUANTIZER),
        "noise": _at_most(limits.noise),
        "bars": _at_most(limits.bars),
        "title_fraction": _at_most(limits.title_fraction),
        "overlay": _at_most(MAX_OVERLAY),
        "longest_freeze": _at_most(limits.freeze_seconds),
        "repeated_fraction": _at_most(limits.repeated_fraction),
        "static_fraction": _at_most(limits.static_fraction),
        "flicker": _at_most(limits.flicker),
        "motion_smoothness": _at_least(limits.motion_smoothness),
        "cuts": _at_most(limits.cuts),
        "camera_shake": _at_most(MAX_SHAKE),
        "dolly_zoom": _at_most(MAX_DOLLY_ZOOM),
        "caption_words": _at_least(1),
    }


def _at_least(value: float) -> Rule:
    return Rule(minimum=Limit(value))


def _at_most(value: float) -> Rule:
    return Rule(maximum=Limit(value))


DEFAULT_RULES: Mapping[str, Rule] = _default_rules()


def check_rules(settings: SelectionConfig, columns: Collection[str]) -> None:
    """Check that every column used by the settings exists.

    Args:
        settings: the rules.
        columns: the columns of the stages.

    Raises:
        InputError: a column is missing.
    """
    wanted = [*settings.rules, *([settings.best_by] if settings.best_by else [])]
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise InputError(
            f"got a rule for {missing[0]!r}, which is not measured, expected one of "
            f"{', '.join(columns)}; technical, aesthetic and overall need --dover"
        )


def select(
    table: pyarrow.Table, settings: SelectionConfig, vectors: np.ndarray | None = None
) -> pyarrow.Table:
    """Append the verdict: `kept`, `dropped_by` (rules, separated by spaces) and `reason`.

    Args:
        table: the manifest without a verdict.
        settings: the rules.
        vectors: embeddings of the clips `[N, D]`, if the settings need them.

    Returns:
        the table with three more columns.

    Raises:
        InputError: a rule refers to a column that was not measured, or embeddings are missing.
    """
    import pyarrow as pa

    if settings.needs_embeddings and vectors is None:
        raise InputError("got max_similarity or balance without embeddings: give --agreement MODEL")

    if table["hash"].null_count < len(table):  # otherwise no clip could be measured
        # A built-in column that no clip has, because none shows anything, is no error in the rules.
        known = dict.fromkeys([*number_columns(learned=False), *measured_columns(table)])
        check_rules(settings, list(known))
    reasons: list[list[tuple[str, str]]] = [[] for _ in range(len(table))]
    for index, error in enumerate(table["error"].to_pylist()):
        if error:
            reasons[index].append(("error", error))
    usable = np.array([not reason for reason in reasons], dtype=bool)
    for column, rule in settings.rules.items():
        for index, reason in _violations(table, column, rule, usable):
            reasons[index].append((column, reason))
    _drop_unmeasured(table, settings, reasons)
    _drop_repeated(table, settings, vectors, reasons)
    verdict = {
        "kept": [not reason for reason in reasons],
        "dropped_by": [" ".join(name for name, _ in reason) for reason in reasons],
        "reason": ["; ".join(text for _, text in reason) for reason in reasons],
    }
    for name, values in verdict.items():
        table = table.append_column(name, pa.array(values))
    return table


def limits_of(table: pyarrow.Table, rule: Rule, column: str) -> tuple[float | None, float | None]:
    """Return the minimum and maximum of a rule as numbers, quantiles evaluated."""
    values = column_values(table, column)
    return (
        rule.minimum.of(values) if rule.minimum else None,
        rule.maximum.of(values) if rule.maximum else None,
    )


def _violations(
    table: pyarrow.Table, column: str, rule: Rule, usable: np.ndarray
) -> list[tuple[int, str]]:
    values = column_values(table, column)
    least, greatest = limits_of(table, rule, column)
    found: list[tuple[int, str]] = []
    if least is not None:
        low = np.flatnonzero(usable & (values < least)).tolist()
        found += [(i, f"{column} {values[i]:.4g} is below {least:.4g}") for i in low]
    if greatest is not None:
        high = np.flatnonzero(usable & (values > greatest)).tolist()
        found += [(i, f"{column} {values[i]:.4g} is above {greatest:.4g}") for i in high]
    return found


def _drop_unmeasured(
    table: pyarrow.Table, settings: SelectionConfig, reasons: list[list[tuple[str, str]]]
) -> None:
    """Reject clips that lack a column with a rule; skip clips already rejected.

    A black clip measures as unblurred, for example. The default rules look for defects, and as in
    `vqa.find_defects` an absent measure (the blockiness of a tiny frame) is no defect, unless
    nothing at all was measured of the clip.
    """
    is_measured = np.array(table["hash"].is_valid())
    for column, rule in settings.rules.items():
        missing = np.isnan(column_values(table, column))
        if rule == DEFAULT_RULES.get(column):
            missing &= ~is_measured
        for index in np.flatnonzero(missing):
            if not reasons[index]:
                reasons[index].append((column, f"{column} was not measured"))


def _drop_repeated(
    table: pyarrow.Table,
    settings: SelectionConfig,
    vectors: np.ndarray | None,
    reasons: list[list[tuple[str, str]]],
) -> None:
    order = best_first(table, _count_defects(table), settings.best_by)
    passed = [index for index in order if not reasons[index]]
    drop_copies(table, passed, settings.duplicate_distance, reasons)
    if settings.clips_per_scene is not None:
        drop_repeated_scenes(table, passed, settings.clips_per_scene, reasons)
    if vectors is not None and settings.max_similarity is not None:
        drop_similar(table["id"].to_pylist(), passed, vectors, settings.max_similarity, reasons)
    if vectors is not None and settings.balance is not None:
        drop_surplus(passed, vectors, settings.balance, settings.clusters, reasons)


def _count_defects(table: pyarrow.Table) -> np.ndarray:
    """Return the number of default rules that each clip breaks, int [N], even those lifted."""
    defects = np.zeros(len(table), dtype=np.int64)
    everything = np.ones(len(table), dtype=bool)
    for column, rule in DEFAULT_RULES.items():
        for index, _ in _violations(table, column, rule, everything):
            defects[index] += 1
    return defects
