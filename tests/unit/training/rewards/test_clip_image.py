"""Image rewards of CLIP's kind, with random weights, and the converter of the released HPS file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from support.models import relative_l2, rnd
from torch import nn
from transformers import CLIPConfig, CLIPModel

from hummingbird_core.checkpoints import read_tensors
from hummingbird_core.errors import CheckpointError, InputError, UnsafeCheckpointError
from hummingbird_core.text.tokenizer import ClipTokenizer
from hummingbird_core.training.rewards import REWARDS, load_reward
from hummingbird_core.training.rewards.clip_image import (
    ClipImageReward,
    center_crop,
    features,
    random_crop,
    resize_short_side,
)
from hummingbird_core.training.rewards.hps import clip_from_open_clip

TEXT_WIDTH, VISION_WIDTH, HEAD_WIDTH = 128, 192, 64
PATCH, IMAGE = 8, 32


class Block(nn.Module):
    """OpenCLIP's residual block, written from its description: pre-norm, GELU, fused attention."""

    def __init__(self, width: int):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, width // HEAD_WIDTH, batch_first=True)
        self.mlp = nn.ModuleDict(
            {"c_fc": nn.Linear(width, 2 * width), "c_proj": nn.Linear(2 * width, width)}
        )

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, attn_mask=mask, need_weights=False)[0]
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x))))


def blocks(width: int, layers: int) -> nn.ModuleDict:
    return nn.ModuleDict({"resblocks": nn.ModuleList(Block(width) for _ in range(layers))})


class Vision(nn.Module):
    def __init__(self, width: int, embedding: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, PATCH, PATCH, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width))
        self.positional_embedding = nn.Parameter(torch.randn((IMAGE // PATCH) ** 2 + 1, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = blocks(width, 2)
        self.proj = nn.Parameter(torch.randn(width, embedding))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = self.conv1(pixels).flatten(2).transpose(1, 2)  # [B, patches, width]
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], dim=1)
        x = self.ln_pre(x + self.positional_embedding)
        for block in self.transformer["resblocks"]:
            x = block(x)
        return self.ln_post(x[:, 0]) @ self.proj


class OpenClip(nn.Module):
    """A CLIP in OpenCLIP's layout of names."""

    def __init__(self, embedding: int = 12):
        super().__init__()
        self.visual = Vision(VISION_WIDTH, embedding)
        self.token_embedding = nn.Embedding(ClipTokenizer.vocab_size, TEXT_WIDTH)
        self.positional_embedding = nn.Parameter(torch.randn(77, TEXT_WIDTH))
        self.transformer = blocks(TEXT_WIDTH, 3)
        self.ln_final = nn.LayerNorm(TEXT_WIDTH)
        self.text_projection = nn.Parameter(torch.randn(TEXT_WIDTH, embedding))
        self.logit_scale = nn.Parameter(torch.tensor(4.6))

    def encode_text(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.token_embedding(ids) + self.positional_embedding
        mask = torch.full((77, 77), float("-inf")).triu(1)
        for block in self.transformer["resblocks"]:
            x = block(x, mask)
        return self.ln_final(x)[torch.arange(len(ids)), ids.argmax(dim=1)] @ self.text_projection


@pytest.fixture(scope="module")
def reference() -> OpenClip:
    torch.manual_seed(0)
    model = OpenClip().eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if "bias" in name:  # torch starts those of attention at zero, which would hide mistakes
            nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture(scope="module")
def converted(reference: OpenClip) -> CLIPModel:
    return clip_from_open_clip(reference.state_dict())


CAPTIONS = ["a hummingbird at a flower", "rain"]


def test_converted_features_are_those_of_the_open_clip_layout(reference, converted):
    pixels, ids = rnd("pixels", (2, 3, IMAGE, IMAGE)), ClipTokenizer()(CAPTIONS)
    with torch.no_grad():
        image = features(converted.get_image_features(pixel_values=pixels))
        text = features(converted.get_text_features(input_ids=ids))
    assert relative_l2(image, reference.visual(pixels)) <= 1e-5
    assert relative_l2(text, reference.encode_text(ids)) <= 1e-5


def test_features_of_old_and_new_transformers_are_taken(converted):
    tensor = torch.ones(1, 2)
    assert features(tensor) is tensor
    output = converted.vision_model(rnd("pixels", (1, 3, IMAGE, IMAGE)))
    assert features(output) is output.pooler_output


def test_the_released_file_and_a_converted_one_give_the_same_reward(reference, tmp_path):
    file = tmp_path / "HPS_v2.1_compressed.pt"
    torch.save({"epoch": 3, "state_dict": reference.state_dict()}, file)
    clip_from_open_clip(read_tensors(file)).save_pretrained(tmp_path / "hps")
    frames, generator = rnd("frames", (1, 3, 1, 40, 48)).tanh(), torch.Generator()
    sources = (file, tmp_path, tmp_path / "hps")
    scores = [load_reward("hpsv2", s)(frames, CAPTIONS[:1], generator) for s in sources]
    torch.testing.assert_close(scores[0], scores[1])
    torch.testing.assert_close(scores[0], scores[2])


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    file = tmp_path / "hps.pt"
    torch.save({"state_dict": Evil()}, file)
    with pytest.raises((UnsafeCheckpointError, CheckpointError)):
        load_reward("hpsv2", file)
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_model_are_named(reference, tmp_path):
    weights = reference.state_dict()
    save_file({"some.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="released HPS"):
        load_reward("hpsv2", tmp_path / "other.safetensors")
    del weights["ln_final.bias"]
    with pytest.raises(CheckpointError, match=r"1 missing .*final_layer_norm.bias"):
        clip_from_open_clip(weights)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("text_projection", (4,)),
        ("visual.positional_embedding", (0, 0)),
        ("visual.transformer.resblocks.0.mlp.c_fc.weight", (8, 8)),
        ("visual.conv1.weight", (8, 3, 0, 0)),
    ],
)
def test_weights_of_impossible_shapes_are_named(reference, name, shape):
    with pytest.raises(CheckpointError):
        clip_from_open_clip({**reference.state_dict(), name: torch.zeros(shape)})


def test_gradients_reach_every_frame_and_climbing_them_helps(converted):
    reward = ClipImageReward(converted, "hpsv2")
    frames = rnd("frames", (2, 3, 3, 48, 64)).tanh().requires_grad_()
    score = reward(frames, CAPTIONS, torch.Generator())
    assert score.shape == (2,)
    (gradient,) = torch.autograd.grad(score.sum(), frames)
    assert gradient.isfinite().all()
    assert (gradient.flatten(3).norm(dim=3) > 0).all()
    with torch.no_grad():
        better = reward(frames + 0.5 * gradient / gradient.norm(), CAPTIONS, torch.Generator())
    assert (better > score).all()
    assert all(parameter.grad is None for parameter in reward.parameters())


def test_the_reward_is_the_mean_cosine_over_the_frames(converted, reference):
    frames = rnd("frames", (1, 3, 4, IMAGE, IMAGE)).tanh()
    reward = ClipImageReward(converted, "pickscore")
    whole = reward(frames, CAPTIONS[:1], torch.Generator())
    single = [reward(frames[:, :, [t]], CAPTIONS[:1], torch.Generator()) for t in range(4)]
    torch.testing.assert_close(whole, torch.stack(single).mean(dim=0))
    mean, std = torch.tensor(
        [[0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]]
    )
    pixels = ((frames[0, :, 0] + 1) / 2 - mean[:, None, None]) / std[:, None, None]
    image, text = reference.visual(pixels[None]), reference.encode_text(ClipTokenizer()(CAPTIONS))
    torch.testing.assert_close(single[0], torch.cosine_similarity(image, text[:1]))


def test_five_different_frames_are_asked_for(converted):
    reward, generator = ClipImageReward(converted, "hpsv2"), torch.Generator().manual_seed(0)
    drawn = [tuple(reward.frames_needed(26, generator).tolist()) for _ in range(20)]
    assert all(len(set(frames)) == 5 and list(frames) == sorted(frames) for frames in drawn)
    assert {frame for frames in drawn for frame in frames} > set(range(20, 26))
    assert reward.frames_needed(3, generator).tolist() == [0, 1, 2]


@pytest.mark.parametrize(("height", "width"), [(64, 96), (90, 40), (20, 28)])
def test_preprocessing_is_that_of_pillow(height, width):
    """To 0.004 of 1: Pillow rounds to whole numbers of 255 on the way."""
    noise = F.interpolate(rnd("picture", (1, 3, 8, 8)), (height, width), mode="bicubic")
    pixels = (noise.sigmoid() * 255).round()
    size, short = 24, min(height, width)
    ours = center_crop(resize_short_side(pixels / 255, size), size)[0]
    picture = Image.fromarray(pixels[0].permute(1, 2, 0).numpy().astype(np.uint8))
    wide, high = int(width * size / short), int(height * size / short)
    picture = picture.resize((max(wide, size), max(high, size)), Image.Resampling.BICUBIC)
    left, top = round((picture.width - size) / 2), round((picture.height - size) / 2)
    expected = np.asarray(picture.crop((left, top, left + size, top + size))) / 255
    assert np.abs(ours.permute(1, 2, 0).numpy() - expected).max() <= 0.004


def test_random_crops_lie_inside_and_differ():
    picture, generator = torch.arange(20.0).expand(1, 3, 8, 20), torch.Generator().manual_seed(0)
    lefts = {random_crop(picture, 8, generator)[0, 0, 0, 0].item() for _ in range(60)}
    assert min(lefts) == 0
    assert max(lefts) == 12


def test_pickscore_loads_from_a_folder_and_is_asked_for_if_it_is_not_there(tmp_path):
    size = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    config = CLIPConfig(text_config=size, vision_config=size, projection_dim=8)
    CLIPModel(config).save_pretrained(tmp_path / "pick")
    reward = load_reward("pickscore", tmp_path / "pick")
    assert reward.name == "pickscore"
    score = reward(torch.zeros(1, 3, 2, 64, 64), ["a cat"], torch.Generator())
    assert score.abs() <= 1
    with pytest.raises(CheckpointError, match="hf download"):
        load_reward("pickscore", tmp_path / "absent")


def test_rewards_have_names():
    assert set(REWARDS) == {"shapes", "agreement", "hpsv2", "pickscore", "video"}
    assert load_reward("shapes").name == "shapes"
    with pytest.raises(InputError, match="expected one of"):
        load_reward("beauty")
    with pytest.raises(InputError, match="formula"):
        load_reward("shapes", "some/file")
