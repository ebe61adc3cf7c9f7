"""Captions that a text encoder cannot use are reported once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

pytest.importorskip("accelerate", reason="needs the extra train")

from support.tiny_training import GRID, MICRO_BATCH, tiny_models

from hummingbird_core.training.data.batch import batch_of
from hummingbird_core.training.data.captions import CaptionCheck, known_captions
from hummingbird_core.training.data.clip_order import ClipConfig
from hummingbird_core.training.data.clip_sources import CachedClips, Mixture
from hummingbird_core.training.data.latent_cache import CachedClip
from hummingbird_core.training.data.nano_clips import NanoClips
from hummingbird_core.training.distillation.losses import OutputKD
from hummingbird_core.training.distillation.predictions import encode_conditions
from hummingbird_core.training.distillation.step import draw_step, weighted_terms
from hummingbird_core.training.nano.text import build_text_encoder

LONG = "a red circle " * 40


def messages(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_unknown_words_and_long_captions_are_one_warning_each(caplog):
    check, encoder = CaptionCheck(), build_text_encoder()
    captions = ["a red circle", "a vermilion circle", "a sepia circle", LONG, "a sepia circle"]
    check.check(encoder, captions)
    check.report(encoder.encode(captions, warn=False))
    unknown, cut = messages(caplog)
    assert unknown.startswith("2 of 4 captions have words that this model does not know: ")
    assert {"sepia", "vermilion"} <= set(unknown.replace(",", " ").replace(";", " ").split())
    assert cut.startswith("1 of 4 captions are too long, their ends have no effect, such as: ")
    check.report(encoder.encode(["a mauve circle"], warn=False))
    assert "mauve" in messages(caplog)[-1]


def test_a_trigger_may_be_unknown(caplog):
    CaptionCheck(expected=["zorblax"]).check(build_text_encoder(), ["zorblax a red circle"])
    assert not caplog.records


def test_many_words_are_counted(caplog):
    CaptionCheck().check(build_text_encoder(), [f"word{letter}" for letter in "abcdefghijkl"])
    (message,) = messages(caplog)
    assert "12 of 12" in message
    assert " and 2 more;" in message


def test_steps_report_each_word_once(caplog):
    """Clips of a source whose captions nobody could list before."""
    models = tiny_models()
    batch = batch_of(NanoClips(3), MICRO_BATCH)
    odd = replace(batch, captions=["a chartreuse circle"] * len(batch.captions))
    for _ in range(3):
        encode_conditions(models, odd, w=odd.fps)
    (message,) = messages(caplog)
    assert message.startswith("2 of 2 captions have words that this model does not know: chartr")


def test_captions_that_are_known_before_the_first_step(tmp_path):
    clips = [CachedClip(f"{n}", f"caption {n}", tmp_path / f"{n}", 4, 8.0) for n in range(2)]
    cached = CachedClips(clips, ClipConfig(2))
    both = Mixture([(cached, 0.5), (NanoClips(3), 0.5)])
    assert known_captions(both) == ["caption 0", "caption 1"]


def test_a_caption_with_times_is_a_text_for_each_frame():
    """Frames far from a border have the embedding of their text alone."""
    models = tiny_models()
    batch = batch_of(NanoClips(12), MICRO_BATCH)
    timed = replace(batch, captions=["0: a red circle; 6: a blue star", "a blue star"])
    conditions = encode_conditions(models, timed, w=timed.fps)
    red, blue = models.embed(["a red circle", "a blue star"], 12)
    assert conditions.context.shape == (2, 12, *red.shape)
    torch.testing.assert_close(conditions.context[0, 0], red)
    torch.testing.assert_close(conditions.context[0, 11], blue)
    torch.testing.assert_close(conditions.context[1, 5], blue)
    assert conditions.null_context.shape == conditions.context.shape
    step = draw_step(MICRO_BATCH, timed, models, GRID)
    assert step.student.eps.shape == step.teacher.eps.shape == batch.latents.shape
    (loss,) = weighted_terms({"kd": OutputKD()}, step).values()
    loss.backward()
    assert all(p.grad.isfinite().all() for p in models.student.parameters() if p.grad is not None)


def test_words_of_captions_with_times_are_checked_without_the_times(caplog):
    CaptionCheck().check(build_text_encoder(), ["0s: a red circle; 2.5s: a sepia circle"])
    (message,) = messages(caplog)
    assert message.startswith("1 of 2 captions have words that this model does not know: sepia")
