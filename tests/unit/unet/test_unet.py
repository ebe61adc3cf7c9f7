"""Behaviour of the U-Net that golden values do not cover: sizes, options, errors."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from hummingbird_core.errors import InputError
from hummingbird_core.sampling import add_noise, alpha_sigma
from hummingbird_core.unet import PRESETS, HummingbirdUNet, UNetConfig, v_to_eps
from hummingbird_core.unet.attention import VIDEO, TransformerBlock
from hummingbird_core.unet.config import FRAME_OCTAVES, TRAITS
from hummingbird_core.unet.layers import FramePositionEmbedding

TINY = UNetConfig.from_preset("hummingbird-nano")
TEXT_SHAPE = (77, TINY.context_dim)


@pytest.fixture(scope="module")
def unet() -> HummingbirdUNet:
    torch.manual_seed(0)
    return HummingbirdUNet(TINY).eval()


def meta(preset: str) -> HummingbirdUNet:
    return HummingbirdUNet(UNetConfig.from_preset(preset), device="meta")


def run(unet, batch=1, frames=3, height=8, width=8, seed=0, **inputs):
    generator = torch.Generator().manual_seed(seed)
    sample = torch.randn(batch, 4, frames, height, width, generator=generator)
    context = torch.randn(batch, 77, unet.config.context_dim, generator=generator)
    with torch.no_grad():
        return unet(sample, inputs.pop("t", 500), context, **inputs)


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (2, 3, 8, 8), (1, 2, 5, 7), (1, 26, 4, 12)])
def test_any_number_of_frames_and_any_size(unet, shape):
    batch, frames, height, width = shape
    out = run(unet, batch, frames, height, width)
    assert out.shape == (batch, 4, frames, height, width)
    assert out.isfinite().all()


def test_a_batch_equals_its_videos_one_by_one(unet):
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(2, 4, 3, 8, 8, generator=generator)
    context = torch.randn(2, *TEXT_SHAPE, generator=generator)
    t, fps = torch.tensor([999, 19]), torch.tensor([8.0, 12.0])
    with torch.no_grad():
        both = unet(sample, t, context, fps=fps)
        single = [
            unet(sample[i : i + 1], t[i], context[i : i + 1], fps=fps[i].item()) for i in range(2)
        ]
    torch.testing.assert_close(both, torch.cat(single), atol=1e-5, rtol=1e-5)


def test_guidance_and_frame_rate_change_the_result(unet):
    plain = run(unet)
    assert not torch.allclose(run(unet, timestep_cond=torch.ones(1, 256)), plain)
    assert not torch.allclose(run(unet, fps=24), plain)


def test_v_prediction_is_a_change_of_variables(unet):
    """v = sqrt(a) eps - sqrt(1 - a) x0 (arXiv 2202.00512), turned back into the noise."""
    x0, noise = torch.randn(2, 1, 4, 2, 8, 8)
    for t in (19, 500, 999):
        signal, sigma = alpha_sigma(t, x0)
        recovered = v_to_eps(add_noise(x0, noise, t), signal * noise - sigma * x0, t)
        torch.testing.assert_close(recovered, noise, atol=1e-5, rtol=0)


def test_the_embedding_of_a_frames_position_depends_on_the_text(unet):
    text, fps = torch.randn(2, *TEXT_SHAPE), torch.full((2,), 8.0)
    embedded = unet.frame_phase(text, 4, fps)
    assert embedded.shape == (2, 4, 128)
    assert not torch.allclose(embedded[:, 0], embedded[:, 3])
    flipped = unet.frame_phase(text.flip(1), 4, fps)
    assert torch.allclose(flipped, embedded, atol=1e-5)  # only the mean of the tokens counts
    assert "frame_phase.proj.weight" in unet.state_dict()
    assert not any("frame_phase" in key for key in meta("hummingbird-0.7b").state_dict())


def test_gradient_checkpointing_changes_no_gradient():
    torch.manual_seed(0)
    plain = HummingbirdUNet(TINY)
    checkpointed = copy.deepcopy(plain)
    checkpointed.gradient_checkpointing = True
    sample, context = torch.randn(1, 4, 2, 8, 8), torch.randn(1, *TEXT_SHAPE)
    for model in (plain, checkpointed):
        model(sample, 500, context).square().mean().backward()
    for (name, p), q in zip(plain.named_parameters(), checkpointed.parameters(), strict=True):
        if p.grad is not None:
            torch.testing.assert_close(q.grad, p.grad, msg=name)


@pytest.mark.parametrize("name", PRESETS)
def test_config_is_read_off_the_shapes(name):
    for guidance in (False, True):
        config = UNetConfig.from_preset(name, guidance_embedding=guidance)
        state_dict = HummingbirdUNet(config, device="meta").state_dict()
        assert UNetConfig.from_state_dict(state_dict) == config
        assert config.preset == name
        assert UNetConfig.from_dict(config.to_dict()) == config
        # A file written before the traits were fields gets those of its preset.
        old = {key: value for key, value in config.to_dict().items() if key not in TRAITS}
        assert UNetConfig.from_dict(old) == config


def test_student_has_at_most_as_many_parameters_as_planned():
    sizes = {
        name: sum(p.numel() for p in HummingbirdUNet(config, device="meta").parameters())
        for name, config in PRESETS.items()
    }
    assert sizes["hummingbird-nano"] < 0.5 * sizes["nano-teacher"]


def test_layer_classes_come_from_the_given_namespace():
    class Operations:
        Linear = type("Linear", (torch.nn.Linear,), {})
        Conv1d = type("Conv1d", (torch.nn.Conv1d,), {})
        Conv2d = type("Conv2d", (torch.nn.Conv2d,), {})
        Conv3d = type("Conv3d", (torch.nn.Conv3d,), {})
        GroupNorm = type("GroupNorm", (torch.nn.GroupNorm,), {})
        LayerNorm = type("LayerNorm", (torch.nn.LayerNorm,), {})

    own = tuple(value for key, value in vars(Operations).items() if key[0] != "_")
    unet = HummingbirdUNet(TINY, operations=Operations, device="meta")
    assert all(isinstance(m, own) for m in unet.modules() if list(m.parameters(recurse=False)))


def test_errors_say_what_to_do(unet):
    with pytest.raises(InputError, match="choose one"):
        UNetConfig.from_preset("hummingbird-2b")
    with pytest.raises(InputError, match="frame axis"):
        unet(torch.zeros(1, 4, 8, 8), 0, torch.zeros(1, *TEXT_SHAPE))
    with pytest.raises(InputError, match="own text encoder"):
        unet(torch.zeros(1, 4, 2, 8, 8), 0, torch.zeros(1, 77, 1024))
    teacher = HummingbirdUNet(UNetConfig.from_preset("nano-teacher"))
    with pytest.raises(InputError, match="no guidance input"):
        run(teacher, timestep_cond=torch.zeros(1, 256))
    with pytest.raises(InputError, match="check that the file is one"):
        UNetConfig.from_state_dict({"weight": torch.zeros(1)})


@pytest.mark.slow  # compiling takes most of a minute
def test_compiles_without_graph_breaks():
    """So that torch.compile and CUDA graphs can take all of it; "eager" runs what was traced."""
    torch.manual_seed(0)
    config = UNetConfig(
        model_channels=8, channel_mult=(1, 2), attention_levels=(1,), head_channels=4,
        context_dim=8, num_res_blocks=1, norm_groups=4, guidance_embedding=True,
        v_prediction=True, frame_phase=True,
    )  # fmt: skip
    unet = HummingbirdUNet(config).eval()
    inputs = torch.randn(1, 4, 2, 4, 4), torch.tensor([999]), torch.randn(1, 77, 8)
    guidance = torch.randn(1, 256)
    compiled = torch.compile(unet, backend="eager", fullgraph=True)
    with torch.no_grad():
        expected = unet(*inputs, timestep_cond=guidance)
        got = compiled(*inputs, timestep_cond=guidance)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def loop_of(config: UNetConfig):
    """Return a U-Net of random weights, and its prediction of a loop that begins at frame `n`."""
    torch.manual_seed(0)
    model = HummingbirdUNet(config).eval()
    sample = torch.randn(1, 4, 6, 8, 8)
    context = torch.randn(1, 77, config.context_dim)

    def predict(n: int, loop: bool = True) -> torch.Tensor:
        with torch.no_grad():
            return model(sample.roll(n, dims=2), 500, context, loop=loop)

    return predict


def test_a_loop_commutes_with_a_roll_of_its_frames():
    predict = loop_of(replace(TINY, frame_phase=False))
    for n in (1, 4):
        torch.testing.assert_close(predict(n), predict(0).roll(n, dims=2), atol=1e-5, rtol=0)
    assert (predict(1, loop=False) - predict(0, loop=False).roll(1, dims=2)).abs().max() > 1e-2


@pytest.mark.slow
def test_a_loop_of_the_published_model_commutes_with_a_roll_of_its_frames():
    predict = loop_of(UNetConfig.from_preset("hummingbird-0.7b"))
    torch.testing.assert_close(predict(2), predict(0).roll(2, dims=2), atol=1e-5, rtol=0)


def test_frame_positions_of_a_loop_have_whole_periods(unet):
    """The wave goes on at the seam as between any two frames."""
    config = replace(TINY, frame_seconds=True)
    embedding = FramePositionEmbedding(config, torch.nn)
    text, fps = torch.randn(1, 77, config.context_dim), torch.tensor([8.0])
    once = embedding(text, 16, fps, loop=True)[0]
    steps = (once.roll(-1, dims=0) - once).norm(dim=1)  # [T], the last one over the seam
    assert steps[-1] < 1.5 * steps[:-1].max()
    open_steps = embedding(text, 16, fps)[0]
    seam = (open_steps[0] - open_steps[-1]).norm()
    assert seam > 2 * open_steps.diff(dim=0).norm(dim=1).mean()


def test_frame_positions_in_seconds_follow_the_frame_rate():
    """Twice the rate and twice the frames are the same seconds, seen twice as often."""
    config = replace(TINY, frame_seconds=True)
    embedding = FramePositionEmbedding(config, torch.nn)
    text = torch.randn(1, 77, config.context_dim)
    waves = embedding._angles(16, torch.tensor([8.0]), False)[..., -FRAME_OCTAVES:]
    twice = embedding._angles(32, torch.tensor([16.0]), False)[..., -FRAME_OCTAVES:]
    middle = (twice[:, ::2] + twice[:, 1::2]) / 2
    torch.testing.assert_close(middle, waves, atol=1e-5, rtol=0)
    assert embedding(text, 16, torch.tensor([4.0])).shape == (1, 16, config.embedding_dim)


def test_shapes_show_whether_frame_positions_are_in_seconds():
    for seconds in (False, True):
        config = replace(TINY, frame_seconds=seconds)
        weights = HummingbirdUNet(config, device="meta").state_dict()
        assert UNetConfig.from_state_dict(weights).frame_seconds is seconds


@pytest.fixture(scope="module")
def story():
    """A sample of six frames, two texts, and their weights in each frame."""
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(2, 4, 6, 8, 8, generator=generator)
    texts = torch.randn(2, 2, *TEXT_SHAPE, generator=generator)  # [B, K, L, C]
    share = torch.tensor([1, 1, 0.75, 0.25, 0, 0])
    weights = torch.stack([share, 1 - share], dim=1).expand(2, -1, -1)  # [B, T, K]
    return sample, texts, weights


@torch.no_grad()
def test_one_text_for_all_frames_may_be_given_for_each_frame(unet, story):
    sample, texts, _ = story
    once = unet(sample, 500, texts[:, 0])
    torch.testing.assert_close(unet(sample, 500, texts[:, :1].expand(-1, 6, -1, -1)), once)
    weights = torch.tensor([1.0, 0.0]).expand(2, 6, 2)
    torch.testing.assert_close(unet(sample, 500, texts, text_weights=weights), once)


@torch.no_grad()
def test_a_mix_of_texts_equals_the_mixed_text_of_each_frame(unet, story):
    sample, texts, weights = story
    mixed = torch.einsum("btk,bklc->btlc", weights, texts)
    by_weights = unet(sample, 500, texts, text_weights=weights)
    torch.testing.assert_close(by_weights, unet(sample, 500, mixed), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(by_weights, unet(sample, 500, texts[:, 0]), atol=1e-2)


@torch.no_grad()
def test_keys_and_values_are_computed_once_a_distinct_text(unet, story):
    sample, texts, _ = story
    blocks = [m for m in unet.modules() if isinstance(m, TransformerBlock)]
    cross = [block.attn2 for block in blocks if block.attn2.pattern == VIDEO]
    seen: list[torch.Size] = []
    hooks = [
        layer.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
        for attention in cross
        for layer in (attention.to_k, attention.to_v)
    ]
    unet(sample, 500, texts[:, [0, 0, 0, 1, 1, 1]])
    for hook in hooks:
        hook.remove()
    assert cross
    assert seen == [(2, 2, *TEXT_SHAPE)] * (2 * len(cross))


@torch.no_grad()
def test_texts_over_time_in_a_loop_commute_with_a_roll(story):
    torch.manual_seed(0)
    model = HummingbirdUNet(replace(TINY, frame_phase=False)).eval()
    sample, texts, weights = story
    out = model(sample, 500, texts, text_weights=weights, loop=True)
    rolled = model(
        sample.roll(2, dims=2), 500, texts, text_weights=weights.roll(2, dims=1), loop=True
    )
    torch.testing.assert_close(rolled, out.roll(2, dims=2), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("texts", "weights"),
    [
        (torch.zeros(1, 5, *TEXT_SHAPE), None),
        (torch.zeros(1, 2, *TEXT_SHAPE), torch.ones(1, 5, 2)),
        (torch.zeros(1, *TEXT_SHAPE), torch.ones(1, 6, 1)),
        (torch.zeros(2, *TEXT_SHAPE), None),
    ],
)
def test_texts_of_another_number_of_frames_are_refused(unet, texts, weights):
    with pytest.raises(InputError, match="expected"):
        unet(torch.zeros(1, 4, 6, 8, 8), 500, texts, text_weights=weights)
