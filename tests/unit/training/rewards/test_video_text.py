"""The video-text reward, with X-CLIP and VideoPrism of random weights."""

from __future__ import annotations

import socket

import pytest
import torch
from huggingface_hub import constants
from support.models import rnd
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast, XCLIPConfig, XCLIPModel

from hummingbird_core.errors import CheckpointError
from hummingbird_core.training.rewards import load_reward
from hummingbird_core.training.rewards.base import strided_frames
from hummingbird_core.training.rewards.video_text import VideoTextReward

CAPTIONS = ["a red circle moves left", "the blue square"]


def tokenizer() -> PreTrainedTokenizerFast:
    words = ["[PAD]", "[UNK]", *sorted({word for text in CAPTIONS for word in text.split()})]
    model = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "[UNK]"))
    model.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=model, pad_token="[PAD]", unk_token="[UNK]")


def xclip() -> XCLIPModel:
    size = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    text = {**size, "num_hidden_layers": 1, "vocab_size": 20, "max_position_embeddings": 12}
    vision = {
        **size,
        "num_hidden_layers": 1,
        "image_size": 32,
        "patch_size": 16,
        "num_frames": 8,
        "mit_hidden_size": 16,
        "mit_intermediate_size": 16,
        "mit_num_attention_heads": 2,
    }
    torch.manual_seed(0)
    config = XCLIPConfig(
        text_config=text, vision_config=vision, projection_dim=16, prompt_num_attention_heads=2
    )
    model = XCLIPModel(config)
    for parameter in model.parameters():  # its own start is so small that texts hardly differ
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def videoprism():
    transformers = pytest.importorskip("transformers", minversion="5.20")
    size = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    text = {**size, "num_hidden_layers": 1, "vocab_size": 20, "max_position_embeddings": 12}
    vision = {
        **size,
        "num_spatial_layers": 1,
        "num_temporal_layers": 1,
        "num_auxiliary_layers": 1,
        "image_size": 32,
        "tubelet_size": [1, 16, 16],
        "num_frames": 16,
    }
    torch.manual_seed(0)
    config = transformers.VideoPrismConfig(text_config=text, vision_config=vision)
    return transformers.VideoPrismClipModel(config)


@pytest.fixture(scope="module", params=[xclip, videoprism], ids=["xclip", "videoprism"])
def reward(request) -> VideoTextReward:
    return VideoTextReward(request.param(), tokenizer())


def clips(reward: VideoTextReward) -> torch.Tensor:
    count = len(reward.frames_needed(26, torch.Generator()))
    return rnd("clips", (2, 3, count, 40, 56)).tanh()


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_gradients_reach_every_frame_and_climbing_them_helps(reward):
    frames = clips(reward).requires_grad_()
    score = reward(frames, CAPTIONS, seeded())
    assert score.shape == (2,)
    assert (score.abs() <= 1).all()
    (gradient,) = torch.autograd.grad(score.sum(), frames)
    assert gradient.isfinite().all()
    assert (gradient.flatten(3).norm(dim=3) > 0).all()
    step = 0.5 * gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1, 1)
    with torch.no_grad():
        better = reward(frames + step, CAPTIONS, seeded())
    assert (better > score).all()
    assert all(parameter.grad is None for parameter in reward.parameters())


def test_a_clip_is_scored_the_same_alone_and_in_a_batch(reward):
    frames = clips(reward)
    together = reward(frames, CAPTIONS, seeded())
    alone = [reward(frames[[i]], CAPTIONS[i : i + 1], seeded()) for i in range(2)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=0)


def test_captions_matter(reward):
    frames = clips(reward)[[0, 0]]
    first, second = reward(frames, CAPTIONS, seeded()).tolist()
    assert abs(first - second) > 1e-4


def test_xclip_scores_are_the_models_own_logits():
    model = xclip().eval()
    reward, frames = VideoTextReward(model, tokenizer()), rnd("small", (2, 3, 8, 32, 32)).tanh()
    pixels = reward._pixels(frames, seeded())
    logits = model(pixel_values=pixels, **reward._tokens(CAPTIONS)).logits_per_video
    expected = logits.diagonal() / model.logit_scale.exp()
    torch.testing.assert_close(reward(frames, CAPTIONS, seeded()), expected)


def test_the_crop_is_drawn_from_the_generator(reward):
    frames = clips(reward)
    crops = {
        reward._pixels(frames, torch.Generator().manual_seed(s)).sum().item() for s in range(9)
    }
    assert len(crops) > 3


@pytest.mark.parametrize(("num_frames", "stride", "starts"), [(26, 3, 5), (16, 2, 2), (8, 1, 1)])
def test_eight_frames_a_stride_apart_from_a_random_start(num_frames, stride, starts):
    generator = seeded()
    drawn = [strided_frames(num_frames, 8, generator) for _ in range(60)]
    assert all((frames.diff() == stride).all() and len(frames) == 8 for frames in drawn)
    assert {frames[0].item() for frames in drawn} == set(range(starts))


def test_frames_of_a_short_clip_come_several_times():
    assert strided_frames(4, 8, seeded()).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_loads_from_a_folder(tmp_path):
    xclip().save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    reward = load_reward("video", tmp_path)
    frames = rnd("small", (2, 3, 8, 32, 32)).tanh()
    expected = VideoTextReward(xclip(), tokenizer())(frames, CAPTIONS, seeded())
    torch.testing.assert_close(reward(frames, CAPTIONS, seeded()), expected)


def test_a_model_that_is_not_here_is_not_looked_for_elsewhere(monkeypatch):
    """`AutoModel` asked the hub for an adapter six times, local files only or not."""
    asked = []

    def offline(host, *_, **__):
        asked.append(host)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(CheckpointError, match="it is not on this computer"):
        load_reward("video", "nobody/nothing")
    assert not asked


def test_another_kind_of_model_is_refused():
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = CLIPModel(CLIPConfig(text_config={**size, "vocab_size": 20}, vision_config=size))
    with pytest.raises(CheckpointError, match="xclip or videoprism"):
        VideoTextReward(model, tokenizer())
