"""Stages for engines: functions that their processes import."""

from __future__ import annotations

import os


def square(number: int) -> int:
    """Square a number; 13 ends the process."""
    if number == 13:  # what a fault in a library, or the system's killer, does
        os._exit(1)
    return number**2


def on_worker_death(number: int) -> int:
    return -number
