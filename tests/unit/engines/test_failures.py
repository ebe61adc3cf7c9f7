"""A run in which everything fails for one reason stops; single failures never stop one."""

from __future__ import annotations

import pytest

from hummingbird_core.engines.failures import MAX_ALIKE, FailureStreak
from hummingbird_core.errors import HummingbirdError


def full(number: int) -> tuple[str, str]:
    return f"clips/{number}.mp4", f"cannot write {number}.mp4: the disk is full ({number} MiB free)"


def test_the_same_reason_stops_the_run_whatever_the_names_and_numbers():
    streak = FailureStreak("videos")
    for number in range(MAX_ALIKE - 1):
        streak.failed(*full(number))
    with pytest.raises(HummingbirdError, match=r"20 videos in a row .* the disk is full .*again"):
        streak.failed(*full(MAX_ALIKE))


def test_a_success_or_another_reason_between_them_goes_on():
    streak = FailureStreak("videos")
    for number in range(3 * MAX_ALIKE):
        streak.failed(*full(number))
        if number % 2:
            streak.succeeded()
    for number in range(MAX_ALIKE):
        streak.failed(*full(number))
        streak.failed(f"{number}.mp4", "its worker died")
    streak.finish(1000)


@pytest.mark.parametrize(("count", "stops"), [(3, True), (4, False), (0, False)])
def test_a_short_run_stops_if_all_of_it_failed(count, stops):
    streak = FailureStreak("videos")
    for number in range(3 if count else 0):
        streak.failed(*full(number))
    if not stops:
        streak.finish(count)
        return
    with pytest.raises(HummingbirdError, match="3 videos"):
        streak.finish(count)


def test_an_empty_name_hides_nothing():
    streak = FailureStreak("videos", max_alike=2)
    streak.failed("", "one reason")
    streak.failed("", "another")
