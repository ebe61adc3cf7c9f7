"""Core nodes that change a MODEL: each has its effect, or ends the graph with a line that says why.

The graphs are in `support/comfy/model_changes.py`.
"""

from __future__ import annotations

import logging
import shutil

import numpy as np
import pytest
import torch
from comfy_server import PromptError
from support.comfy.graphs import ksampler_graph, sample_video
from support.comfy.model_changes import EFFECTS, HARMLESS, REFUSALS, loading, plain, saving
from support.comfy.native import settings
from support.models import rnd


@pytest.fixture
def known(server):
    """Skip graphs with a node that this release does not have yet."""

    def check(graph):
        missing = {node["class_type"] for node in graph.values()} - server.node_infos.keys()
        if missing:
            pytest.skip(f"this ComfyUI has no {', '.join(missing)}")
        return graph

    return check


@pytest.mark.parametrize("name", EFFECTS)
def test_a_change_has_an_effect(server, known, name):
    graph = known(EFFECTS[name])
    changed, unchanged = (server.frames(server.run(g)) for g in (graph, plain(graph)))
    assert changed.shape == unchanged.shape
    assert not np.array_equal(changed, unchanged)
    assert changed.std() > 1


@pytest.mark.parametrize("name", REFUSALS)
def test_what_makes_no_sense_is_refused_with_a_line(server, known, name):
    graph, line = REFUSALS[name]
    with pytest.raises(PromptError, match=line) as error:
        server.run(known(graph))
    assert str(error.value).count("\n") <= 1  # ComfyUI ends the message with a line break


def test_a_harmless_schedule_changes_nothing(server):
    graph = HARMLESS["ModelSamplingDiscrete eps"]
    expected = {**graph, "sample": sample_video()}
    assert np.array_equal(*(server.frames(server.run(g)) for g in (graph, expected)))


def test_a_merge_of_one_shape_is_a_model(server):
    merged = server.frames(server.run(HARMLESS["merge with itself"]))
    expected = server.frames(server.run(ksampler_graph()))
    assert abs(merged.astype(int) - expected.astype(int)).max() <= 1


@pytest.mark.parametrize("whole", [True, False], ids=["CheckpointSave", "ModelSave"])
def test_what_core_saves_comes_back_the_same(server, whole):
    inputs = {"clip": ["load", 1], "vae": ["load", 2]} if whole else {}
    kind = "CheckpointSave" if whole else "ModelSave"
    expected = server.frames(server.run(saving(kind, f"saved/{kind}", **inputs)))
    (saved,) = (server.folder / "output" / "saved").glob(f"{kind}_*.safetensors")
    folder = server.folder / "models" / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(saved, folder / f"{kind}.safetensors")
    got = server.frames(server.run(loading(f"{kind}.safetensors", whole)))
    assert np.array_equal(got, expected)


# --- in the test process -------------------------------------------------------------------------


def call(unet, frames=3, **options):
    """Predict the noise of one video; `options` are transformer_options."""
    conds = {"fps": torch.tensor([8.0])}
    x, context = rnd("x", (1, 4, frames, 8, 8)), rnd("c", (1, 77, unet.config.context_dim))
    if unet.config.guidance_embedding:
        conds["guidance"] = rnd("w", (1, 256))
    return unet(x, torch.tensor([500.0]), context, transformer_options=options, **conds)


@pytest.fixture
def unet(nano):
    return nano.model.model.diffusion_model


def test_without_changes_every_bit_is_that_of_the_core(unet):
    x, context = rnd("x", (1, 4, 3, 8, 8)), rnd("c", (1, 77, unet.config.context_dim))
    core = type(unet).__mro__[1]  # HummingbirdUNet
    expected = core.forward(unet, x, torch.tensor([500.0]), context, 8.0, rnd("w", (1, 256)))
    assert torch.equal(call(unet), expected)


def test_patches_that_return_what_they_got_change_nothing(unet):
    """The steps of a patched transformer are those of the plain one."""
    patches = {
        "attn1_patch": [lambda q, k, v, _: (q, k, v)],
        "attn2_patch": [lambda q, k, v, _: (q, k, v)],
        "attn1_output_patch": [lambda n, _: n],
        "attn2_output_patch": [lambda n, _: n],
        "middle_patch": [lambda x, _: x],
        "emb_patch": [lambda emb, channels, _: emb],
        "input_block_patch": [lambda h, _: h],
        "input_block_patch_after_skip": [lambda h, _: h],
        "middle_block_after_patch": [lambda given: {"h": given["h"]}],
        "output_block_patch": [lambda h, skip, _: (h, skip)],
    }
    assert torch.allclose(call(unet, patches=patches), call(unet), atol=1e-5)


def test_patches_see_frames_as_images_and_their_place(unet):
    seen = []

    def patch(q, k, v, extra):
        seen.append((extra["block"], tuple(q.shape), extra["original_shape"], extra["n_heads"]))
        return q, k, v

    call(unet, frames=3, patches={"attn1_patch": [patch]})
    blocks = [block for block, *_ in seen]
    assert blocks == sorted(blocks)  # "input" before "output", and by number
    _, tokens, original, heads = seen[0]
    assert original == [3, 4, 8, 8]
    assert tokens[0] == 3
    assert tokens[2] == heads * unet.config.head_channels


def test_a_replacement_is_called_for_its_block_only(unet):
    calls = []

    def replacement(q, k, v, extra):
        calls.append(extra["block"])
        return torch.zeros_like(q)

    place = next(i for i, block in enumerate(unet.input_blocks) if len(block) == 3)
    replaced = {"attn1": {("input", place): replacement}}
    assert not torch.allclose(call(unet, patches_replace=replaced), call(unet))
    assert calls == [("input", place)]


def test_wrappers_are_called_with_the_arguments_of_cores_unet(unet):
    from comfy.patcher_extension import WrappersMP

    seen = []

    def wrapper(executor, *args, **kwargs):
        seen.append((len(args), args[-1] is kwargs.get("transformer_options", args[-1])))
        return 2 * executor(*args, **kwargs)

    wrappers = {WrappersMP.DIFFUSION_MODEL: {"test": [wrapper]}}
    assert torch.equal(call(unet, wrappers=wrappers), 2 * call(unet))
    assert seen == [(6, True)]  # x, timesteps, context, y, control, transformer_options


@pytest.mark.parametrize("way", ["override", "flag"])
def test_the_attention_that_a_user_chose_computes_all_of_it(unet, monkeypatch, way):
    import comfy.ldm.modules.attention as comfy_attention

    expected, calls = call(unet), []
    split = comfy_attention.attention_split

    def recorded(*args, **kwargs):
        calls.append(args[0].shape)
        return split(*args, **kwargs)

    if way == "override":
        got = call(unet, optimized_attention_override=lambda _, *a, **k: recorded(*a, **k))
    else:
        monkeypatch.setattr(comfy_attention, "optimized_attention", recorded)
        got = call(unet)
    names = [type(module).__name__ for module in unet.modules()]
    assert len(calls) == 2 * names.count("TransformerBlock")
    assert torch.allclose(got, expected, atol=1e-4)


def test_a_controlnet_is_refused(adapter, unet):
    with pytest.raises(adapter.core_errors.InputError, match="got a ControlNet"):
        unet(
            rnd("x", (1, 4, 1, 8, 8)),
            torch.tensor([1.0]),
            rnd("c", (1, 77, unet.config.context_dim)),
            fps=torch.tensor([8.0]),
            control={"output": []},
        )


def test_a_patch_without_effect_is_named_in_the_log(adapter, nano, positive, caplog):
    """ToMe merges tokens of attention at full size, which the built-in model has not."""
    from comfy_extras.nodes_tomesd import TomePatchModel

    made = (getattr(TomePatchModel, "execute", None) or TomePatchModel().patch)(nano.model, 0.5)
    model = getattr(made, "args", made)[0]
    with caplog.at_level(logging.WARNING):
        adapter.sample.sample_video(model, positive, settings(adapter, steps=1), 0)
    (line,) = [r.getMessage() for r in caplog.records if "changed nothing" in r.getMessage()]
    assert line.startswith("Hummingbird: TomePatchModel changed nothing")


def test_a_guidance_function_of_another_node_stays_with_a_teacher(adapter):
    """Sample Video guides a teacher at noisy timesteps only, with the user's function."""
    path = adapter.core_hub_local.resolve_model("nano-teacher")
    models = adapter.checkpoint.load_models(path, "fp32")
    model = models.model.clone()
    model.set_model_sampler_cfg_function(lambda given: torch.full_like(given["cond"], 7.0))
    guided = adapter.sample._guided_at_high_noise(model)
    schedule = model.get_model_object("model_sampling")
    given = {"cond": torch.ones(1, 4, 1, 2, 2), "uncond": torch.zeros(1, 4, 1, 2, 2)}
    for t, expected in ((999, 7.0), (0, 1.0)):
        sigma = schedule.sigmas[t].reshape(1)
        out = guided.model_options["sampler_cfg_function"](
            {**given, "cond_scale": 3.0, "timestep": sigma}
        )
        assert out.unique().tolist() == [expected]


def test_a_compiled_unet_is_one_graph(unet):
    """The check for interrupts would cut it at every block."""
    import torch._dynamo

    torch._dynamo.reset()
    compiled = torch.compile(unet, backend="eager", fullgraph=True)
    assert torch.allclose(call(compiled), call(unet), atol=1e-5)


def test_channels_last_is_for_images(unet):
    """--force-channels-last; PyTorch refuses it for the weights of a Conv3d."""
    fresh = type(unet)(unet.config).to(memory_format=torch.channels_last)
    kinds = {
        weight.ndim: weight.is_contiguous(memory_format=torch.channels_last)
        for weight in fresh.parameters()
        if weight.ndim in (4, 5) and weight.ndim == 4 and min(weight.shape) > 1
    }
    assert kinds == {4: True}
    fresh.load_state_dict(unet.state_dict())
    assert torch.allclose(call(fresh.eval()), call(unet), atol=1e-4)


def test_taesd_previews_say_what_is_used_instead(nano, monkeypatch, caplog):
    import latent_preview
    from comfy.cli_args import LatentPreviewMethod, args

    monkeypatch.setattr(args, "preview_method", LatentPreviewMethod.TAESD)
    latent_format = nano.model.model.latent_format
    previewer = latent_preview.get_previewer(torch.device("cpu"), latent_format)
    assert isinstance(previewer, latent_preview.Latent2RGBPreviewer)
    assert "latent2rgb is used" in caplog.text
    assert "None" not in caplog.text
