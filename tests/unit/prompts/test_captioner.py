"""Captions from frames: the three doors, and answers that are no caption of what is seen."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image
from support.chat_server import chat_server, fails, says
from support.vision_models import save_vision_model

from hummingbird_core.errors import CheckpointError, HummingbirdError, InputError
from hummingbird_core.prompts.backends.vision import LocalCaptioner
from hummingbird_core.prompts.captioner import (
    FRAMES,
    LONG_SIDE,
    complaint,
    describe,
    frames_for,
    open_captioner,
)

CLIP = np.full((9, 40, 60, 3), 120, np.uint8)


class Scripted:
    """Gives answers in order, and keeps the questions."""

    def __init__(self, *answers):
        self.answers, self.questions = list(answers), []

    def describe(self, frames, system, question, seed):
        self.questions.append(question)
        return self.answers.pop(0)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("a fox runs through snow", ""),
        ("a tracking shot of a fox", "camera or a style"),
        ("a fox, cinematic", "camera or a style"),
        ("perhaps a fox", "guessed (perhaps)"),
        ("ein Fuchs läuft durch den Schnee und der Hund ist unter dem Baum", "not in English"),
        ("", "held no caption"),
        ("...", "held no caption"),
    ],
)
def test_captions_say_what_is_seen_alone(text, wrong):
    assert wrong in complaint(text)
    assert bool(complaint(text)) == bool(wrong)


def test_a_bad_answer_is_asked_for_once_more():
    model = Scripted("It might be a fox.", 'Caption: "A fox runs."', "A fox runs through snow.")
    assert describe(model, CLIP) == {"short": "A fox runs", "long": "A fox runs through snow"}
    assert "(Your last answer guessed (might).)" in model.questions[1]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [("I'm sorry, I can't help.", "held no caption"), (None, "NoneType"), (3, "got int")],
)
def test_an_answer_that_stays_bad_is_an_error(answer, reason):
    with pytest.raises(HummingbirdError, match=reason):
        describe(Scripted(answer, answer), CLIP)


def test_a_model_gets_few_small_frames():
    assert frames_for(np.zeros((9, 1024, 2048, 3), np.uint8)).shape == (4, 256, LONG_SIDE, 3)
    assert frames_for(CLIP[:2]).shape == (2, 40, 60, 3)


def test_a_server_gets_the_frames_as_images():
    with chat_server(says("a gray wall")) as server:
        model = open_captioner("server", "tiny", server.url)
        assert describe(model, frames_for(CLIP))["long"] == "a gray wall"
    system, user = server.requests[0]["messages"]
    assert system["role"] == "system"
    *images, text = user["content"]
    assert text["type"] == "text"
    assert len(images) == FRAMES
    kind, _, data = images[0]["image_url"]["url"].partition(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.size == (60, 40)


def test_a_server_without_a_system_role_gets_one_message():
    refusal = fails(400, "system role not supported")
    with chat_server(refusal, says("a gray wall")) as server:
        assert (
            describe(open_captioner("server", "tiny", server.url), CLIP)["short"] == "a gray wall"
        )
    (message,) = server.requests[1]["messages"]
    assert [part["type"] for part in message["content"]] == ["text", *["image_url"] * 9, "text"]


def test_a_server_that_takes_no_images_says_so():
    with chat_server(fails(400, "this model cannot see images")) as server:
        model = open_captioner("server", "tiny", server.url)
        with pytest.raises(HummingbirdError, match="cannot see images"):
            describe(model, CLIP)


def test_a_local_model_answers_about_frames(tmp_path):
    model = open_captioner("local", str(save_vision_model(tmp_path)))
    frames = frames_for(CLIP)
    answer = model.describe(frames, "describe", "fox", 0)
    assert isinstance(answer, str)
    assert model.describe(frames, "describe", "fox", 1) == answer


def test_a_local_model_without_a_chat_template_is_refused(tmp_path):
    save_vision_model(tmp_path)
    for path in tmp_path.glob("chat_template.*"):  # .json before transformers 4.52
        path.unlink()
    with pytest.raises(CheckpointError, match="expected an instruct model"):
        LocalCaptioner.load(str(tmp_path))


def test_a_function_of_a_user():
    model = open_captioner("support.vision_models:seen", None)
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    frames[..., 2] = 200
    assert describe(model, frames)["long"] == "a large blue ball rolls over grass"


@pytest.mark.parametrize(
    ("source", "model", "error"),
    [
        ("local", None, InputError),
        ("builtin", None, InputError),
        ("local", "no/such-model", CheckpointError),
    ],
)
def test_doors_that_lead_nowhere(source, model, error):
    with pytest.raises(error, match="expected"):
        open_captioner(source, model)
