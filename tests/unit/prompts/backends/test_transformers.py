"""A chat model on this computer, through transformers: a tiny random one, made on the spot."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from support.chat_model import WITHOUT_SYSTEM, save_chat_model

from hummingbird_core.errors import CheckpointError, InputError
from hummingbird_core.prompts import ChatEnhancer, create_enhancer
from hummingbird_core.prompts.backends.transformers import LocalChat, _chat_inputs
from hummingbird_core.text.tokenizer import ClipTokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_chat_model(tmp_path_factory.mktemp("models") / "Tiny-Instruct")


@pytest.fixture
def chat(folder):
    return LocalChat(folder, device="cpu", max_new_tokens=24)


def test_it_answers_with_words_of_its_vocabulary(chat):
    answer = chat.answer("be brief", "a red fox", 0)
    assert answer.strip()
    assert "<" not in answer  # special tokens are not part of an answer


def test_the_seed_decides_the_answer(chat):
    answers = [chat.answer("be brief", "a red fox", seed) for seed in (0, 1, 2, 0)]
    assert answers[0] == answers[3]
    assert len(set(answers)) == 3


def test_the_random_state_of_torch_is_left_alone(chat):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    chat.answer("be brief", "a red fox", 0)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_model_is_freed_and_comes_back(chat):
    first = chat.answer("be brief", "a fox", 3)
    model = weakref.ref(chat._loaded[1])
    chat.close()
    gc.collect()
    assert model() is None
    assert chat.answer("be brief", "a fox", 3) == first


def test_nothing_is_loaded_before_the_first_question(tmp_path):
    LocalChat(tmp_path / "not-there")


def test_the_whole_way_to_a_prompt(folder, tmp_path):
    enhancer = create_enhancer(
        "local", ClipTokenizer(), model=str(folder), cache_dir=tmp_path / "cache"
    )
    with enhancer:
        result = enhancer.enhance("a purple hedgehog in the snow", seed=1)
    assert result.source == "local"
    assert result.model == "Tiny-Instruct"  # no folders
    assert result.tokens <= result.room == 75
    # It talks nonsense, so the user's own words had to be put first.
    assert result.text.startswith("a purple hedgehog in the snow")


def test_a_second_run_needs_no_model(folder, tmp_path):
    def enhance():
        with create_enhancer(
            "local", ClipTokenizer(), model=str(folder), cache_dir=tmp_path
        ) as enhancer:
            result = enhancer.enhance("a red fox", seed=2)
            return result, enhancer._chat._chat._loaded

    first, loaded = enhance()
    assert loaded is not None
    second, loaded = enhance()
    assert loaded is None
    assert second == first


def test_another_model_in_the_same_folder_is_asked_again(folder, tmp_path):
    copy = save_chat_model(tmp_path / "model")
    before = LocalChat(copy).provenance
    (copy / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    assert LocalChat(copy).provenance != before


def test_a_template_without_system_role_gets_the_system_prompt_anyway(tmp_path):
    from transformers import AutoTokenizer

    folder = save_chat_model(tmp_path, WITHOUT_SYSTEM)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = _chat_inputs(tokenizer, "the old dog", "a red fox")["input_ids"][0]
    assert tokenizer.decode(ids) == "<user> the old dog a red fox <assistant>"


def test_a_model_that_does_not_chat_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="chat template"):
        LocalChat(save_chat_model(tmp_path, template=None)).answer("", "?", 0)


def test_a_model_that_is_not_here_is_not_downloaded():
    with pytest.raises(CheckpointError, match=r"not on this computer.*hf download nobody/nothing"):
        LocalChat("nobody/nothing").answer("", "?", 0)


@pytest.mark.parametrize("damage", [b"", b"\x00" * 100, None])
def test_a_damaged_model_is_one_clear_error(tmp_path, damage):
    weights = save_chat_model(tmp_path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50] if damage is None else damage)
    with pytest.raises(CheckpointError, match="got no chat model"):
        LocalChat(tmp_path).answer("", "?", 0)


def test_pickled_weights_are_not_read(tmp_path):
    folder = save_chat_model(tmp_path)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="safetensors"):
        LocalChat(folder).answer("", "?", 0)


def test_an_unknown_device_is_refused(folder):
    with pytest.raises(InputError, match="device"):
        LocalChat(folder, device="warp-drive")


def test_leaving_the_block_frees_the_model(folder):
    chat = LocalChat(folder, device="cpu", max_new_tokens=4)
    with ChatEnhancer(chat, ClipTokenizer()) as enhancer:
        enhancer.enhance("a fox")
        assert chat._loaded is not None
    assert chat._loaded is None


def test_an_answer_can_be_stopped_after_any_token(folder):
    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LocalChat(folder, device="cpu", max_new_tokens=24, check=check).answer("", "a fox", 0)
    assert len(calls) == 3
