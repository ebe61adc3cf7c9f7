"""The report: what it holds, its size, and that it works in a real browser."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="needs the extra curate")

from hummingbird_core.curation.histogram import histogram
from hummingbird_core.curation.measure import clip_path
from hummingbird_core.curation.report import MAX_CLIPS, write_report
from hummingbird_core.curation.selection import Limit, Rule, SelectionConfig, select
from hummingbird_core.curation.table import build_table

SETTINGS = SelectionConfig(rules={"blur": Rule(maximum=Limit(0.5)), "motion": Rule(Limit(0.1))})
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
PICTURE = b"\xff\xd8" + bytes(2900)  # as many bytes as a sample frame has


def clips(count: int) -> list[dict]:
    rng = np.random.default_rng(0)
    return [
        {
            "id": f"{i:04x}-clip",
            "source": f"video{i:05}.mp4",
            "start_frame": 0,
            "fps": 24.0,
            "error": "",
            "caption": f"a fox </script><b> {i}",
            "rewritten_caption": "",
            "hash": rng.bytes(24).hex(),
            "blur": i / count,
            "motion": 1.0,
            **{f"m{k}": float(rng.uniform()) for k in range(20)},
        }
        for i in range(count)
    ]


def report(folder, rows, picture: bytes = b"") -> str:
    for row in rows:
        thumbnail = clip_path(folder / "clips", row["id"]).with_suffix(".jpg")
        thumbnail.parent.mkdir(parents=True, exist_ok=True)
        thumbnail.write_bytes(picture)
    table = select(build_table(rows), SETTINGS)
    write_report(folder / "report.html", table, SETTINGS, folder / "clips", "hummingbird curate in")
    return (folder / "report.html").read_text(encoding="utf-8")


def data_of(page: str) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_the_page_says_what_was_run_and_has_every_clip(tmp_path):
    page = report(tmp_path, clips(10), PICTURE)
    assert "hummingbird curate in" in page
    assert re.search(r"20\d\d-\d\d-\d\d \d\d:\d\d", page)
    data = data_of(page)
    assert data["limits"] == {"blur": [None, 0.5], "motion": [0.1, None]}
    assert [clip["by"] for clip in data["clips"]] == [[]] * 6 + [["blur"]] * 4
    assert data["clips"][3]["caption"] == "a fox </script><b> 3"
    assert "<b> 3" not in page
    assert data["clips"][0]["file"] == "clips/00/0000-clip.mp4"
    assert base64.b64decode(data["clips"][0]["image"].partition(",")[2]) == PICTURE
    assert not re.search(r'(src|href)="https?:', page)


def test_1000_clips_take_5_megabytes_at_most_and_more_do_not_take_more(tmp_path):
    for count in (1000, 2500):
        page = report(tmp_path, clips(count), PICTURE)
        assert len(page) < 5_000_000
        assert len(data_of(page)["clips"]) <= MAX_CLIPS
    assert f"{len(data_of(page)['clips'])} of 2,500 clips" in page


def test_outliers_do_not_squash_a_histogram_and_limits_are_drawn():
    values = np.concatenate([np.linspace(0, 1, 500), [1000.0]])
    svg = histogram("blur", values, np.ones(501, bool), [0.5, 900.0])
    heights = [float(height) for height in re.findall(r'<rect[^>]* height="([\d.]+)"', svg)]
    assert len(heights) == 40
    assert min(heights) > 40  # of 110: all bars are seen
    assert "(5 beyond)" in svg
    assert "limit 0.5" in svg
    assert svg.count("stroke-dasharray") == 1  # 900 lies beyond


@pytest.mark.parametrize("values", [[3.0], [3.0, 3.0], [0.0, 0.0, 0.0, 5.0]])
def test_histograms_of_few_values(values):
    assert "<rect" in histogram("x", np.array(values), np.ones(len(values), bool), [3.0])


def dom(folder, state: str) -> str:
    """Open the report in Chromium and return the page after its script has run."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    profile = f"--user-data-dir={folder / 'profile'}"
    page = f"{(folder / 'report.html').as_uri()}#{state}"
    done = subprocess.run([*command, profile, page], capture_output=True, timeout=300, check=True)
    return done.stdout.decode()


def cards(page: str) -> list[tuple[str, str]]:
    return re.findall(r'class="clip (\w+)" data-id="0*(\w+)-clip"', page)


@pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium")
def test_the_page_filters_sorts_and_previews_a_limit_in_a_real_browser(tmp_path):
    report(tmp_path, clips(10))
    assert len(cards(dom(tmp_path, ""))) == 10
    page = dom(tmp_path, "rule=blur&limit=0.25")  # clips of blur 0, 0.1 and 0.2 would stay
    assert "kept: 6, with this limit: 3" in page
    # What it drops, the nearest to the limit first, and what it nearly drops.
    assert [name for _, name in cards(page)] == [*"3456789", *"210"]
    page = dom(tmp_path, "show=kept&sort=blur&descending=true&text=VIDEO0000")
    assert cards(page) == [("kept", name) for name in "543210"]
