"""The proof of curation, from end to end on a tiny pile with tiny random students."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("pyarrow", reason="needs the extra curate")
pytest.importorskip("accelerate", reason="needs the extra train")

from support.curation import InlineEngine
from support.paths import ROOT
from support.tiny_training import TEACHER

from hummingbird_core.agreement.model import AgreementConfig, AgreementModel, save_agreement
from hummingbird_core.errors import InputError
from hummingbird_core.nano.evaluate import Accuracy
from hummingbird_core.nano.world.paths import NUM_FRAMES
from hummingbird_core.nano.world.stream import samples
from hummingbird_core.pipeline import HummingbirdPipeline
from hummingbird_core.prompts.captioner import complaint
from hummingbird_core.training.nano.text import build_text_encoder

SIZE = 30
SMALL = AgreementConfig(width=16, layers=1, heads=2, dim=8)


@pytest.fixture(scope="module", autouse=True)
def scripts():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks" / "scripts"))
        yield


@pytest.fixture(scope="module")
def proof(scripts, tmp_path_factory):
    from curation_proof import Proof

    folder = tmp_path_factory.mktemp("proof")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        agreement = AgreementModel(SMALL, build_text_encoder())
        save_agreement(folder / "agreement.safetensors", agreement)
    return Proof(folder, SIZE, str(folder / "agreement.safetensors"), steps=5, prompts=2)


@pytest.fixture(scope="module")
def pile(proof):
    from curation_proof import prepare

    with pytest.MonkeyPatch.context() as patch:
        from curation_proof_caption import MODEL_VARIABLE

        patch.setenv(MODEL_VARIABLE, proof.agreement)
        return prepare(proof, InlineEngine())


def test_half_of_the_pile_is_spoilt_in_every_way(pile):
    from curation_proof_pile import KINDS

    spoilt = [clip.kind for clip in pile.clips if clip.kind]
    assert len(spoilt) == SIZE // 2
    assert {*spoilt} == {*KINDS}
    videos = pile.folder / "videos"
    assert len(list(videos.glob("*.mp4"))) == SIZE
    for clip in pile.clips:
        assert (videos / clip.name).with_suffix(".txt").read_text() == clip.caption
        has_other_caption = "caption" in clip.kind or clip.kind == "other words"
        assert (clip.caption != clip.true_caption) == has_other_caption


@pytest.mark.parametrize("number", range(26))
def test_spoilt_frames_differ_and_clean_ones_do_not(number):
    from curation_proof_pile import SPOIL, draw, frames_of, kind_of

    frames = frames_of(number)
    assert frames.shape == (NUM_FRAMES, 64, 64, 3)
    assert frames.dtype == np.uint8
    is_changed = not np.array_equal(frames, draw(number).frames)
    assert is_changed == (kind_of(number) in SPOIL)
    assert np.array_equal(frames, frames_of(number))


def test_the_tenth_of_each_arm(pile, proof):
    from curation_proof import arm_clips

    kinds = {clip.name: clip.kind for clip in pile.clips}
    assert len(arm_clips(pile, proof, "all", 0)) == SIZE
    assert len(arm_clips(pile, proof, "random", 0)) == SIZE // 10
    clean = arm_clips(pile, proof, "clean", 0)
    assert len(clean) == SIZE // 10
    assert not any(kinds[clip.name] for clip in clean)
    assert clean != arm_clips(pile, proof, "clean", 1)
    curated = arm_clips(pile, proof, "curated", 0)
    assert 0 < len(curated) <= SIZE // 10
    recaptioned = arm_clips(pile, proof, "recaptioned", 0)
    assert [clip.path for clip in recaptioned] == [clip.path for clip in curated]
    assert all(clip.caption for clip in recaptioned)
    with pytest.raises(InputError, match="expected one of all, random"):
        arm_clips(pile, proof, "best", 0)


def test_leaving_a_measure_out_changes_its_rules_alone(proof):
    from curation_proof import selection

    whole, without = selection(proof), selection(proof, "blur")
    assert {*whole.rules} - {*without.rules} == {"blur"}
    assert selection(proof, "duplicate").duplicate_distance is None
    assert selection(proof, "agreement").best_by is None
    assert selection(proof, "balance").balance is None


def test_a_student_is_trained_and_judged_once(pile, proof, monkeypatch):
    import curation_proof

    model = HummingbirdPipeline.from_pretrained("nano-teacher", device="cpu")
    with torch.random.fork_rng():
        result = curation_proof.run_student(pile, proof, "clean", 0, model, TEACHER)
    assert result["right"]["joint"][1] == proof.prompts
    assert result["kinds"] == {"clean": SIZE // 10}
    monkeypatch.setattr(curation_proof, "train_student", None)  # a second run needs none
    assert curation_proof.run_student(pile, proof, "clean", 0, model, TEACHER) == result
    with pytest.raises(InputError, match="has other settings"):
        curation_proof.run_student(pile, replace(proof, steps=6), "clean", 0, model, TEACHER)
    (row,) = curation_proof.table_rows([result])
    assert (row["spoilt"], row["against random"]) == ("0.0%", "-")
    json.dumps(result)


def test_differences_have_intervals():
    from curation_proof import difference

    value, low, high = difference(Accuracy(56, 70), Accuracy(48, 80))
    assert (round(value, 4), round(low, 4), round(high, 4)) == (0.2, 0.0524, 0.3339)  # Newcombe


def test_the_readers_find_what_is_drawn_and_nothing_else():
    from curation_proof_students import check

    from hummingbird_core.nano.readers.scene import read_scene

    stream = samples(7)
    (scene, said, _), (_, other, _) = next(stream), next(stream)
    frames = (scene.render() * 255).round().byte().permute(1, 2, 3, 0).numpy()
    seen = read_scene(frames, 8.0)
    assert all(check(said, seen).values())
    assert not all(check(other, seen).values())


def test_captions_from_frames_are_usable_ones(pile, proof, monkeypatch):
    from curation_proof_caption import MODEL_VARIABLE, caption
    from curation_proof_pile import draw

    monkeypatch.setenv(MODEL_VARIABLE, proof.agreement)
    captions = caption(draw(0).frames)
    assert not any(map(complaint, captions.values()))
    assert len(captions["long"].split()) > len(captions["short"].split())
