"""Settings out of range: one line that names the value, before any work."""

from __future__ import annotations

import pytest

from hummingbird_core.errors import InputError
from hummingbird_core.settings import check_settings

GOOD = {
    "width": None,
    "height": None,
    "num_frames": 16,
    "num_inference_steps": 4,
    "guidance_scale": 7.5,
    "fps": 8,
    "seed": 0,
}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("width", [0, -8, 7, 20_000, 8 * 10**18, 10**400]),
        ("height", [0, 12, 8 * 10**18]),
        ("num_frames", [0, -1, 10**9, 10**400]),
        ("num_inference_steps", [0, 51, 10**400]),
        ("guidance_scale", [-1, 1e308, 10**400, float("inf"), float("nan")]),
        ("fps", [0, -1, 1e-308, 1e308, 10**400, float("inf"), float("nan")]),
        ("seed", [-1, 2**64, 10**400]),
    ],
)
def test_values_out_of_range_are_refused_in_one_line(name, values):
    check_settings(["a fox"], **GOOD)
    for value in values:
        with pytest.raises(InputError, match="got ") as error:
            check_settings(["a fox"], **{**GOOD, name: value})
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("prompts", [[], [""], ["a fox", " "], ["x" * 10_001], ["a\0"], ["\ud83d"]])
def test_prompts_that_are_no_text_are_refused(prompts):
    with pytest.raises(InputError, match="prompt"):
        check_settings(prompts, **GOOD)
