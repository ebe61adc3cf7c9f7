"""Local chat models, run by transformers; nothing is downloaded."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...devices import best_device, check_device
from ...errors import CheckpointError
from ...hub.local import from_pretrained_offline
from .base import MAX_ANSWER_TOKENS, TEMPERATURE, Chat, Check, never_stop

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class LocalChat(Chat):
    """An instruct model in Hugging Face's format: loaded by the first question, freed by `close`.

    Only safetensors are read, and no code of a model is executed.

    Args:
        name: a folder, or the hub id of a model in the hub's local cache.
        device: None is the best available.
        max_new_tokens: maximum length of an answer.
        check: called after each token.

    Raises:
        InputError: the device is not available.
    """

    source = "local"

    def __init__(
        self,
        name: str | Path,
        *,
        device: torch.device | str | None = None,
        max_new_tokens: int = MAX_ANSWER_TOKENS,
        check: Check = never_stop,
    ):
        self._name = str(name)
        self._device = best_device() if device is None else check_device(device)
        self._max_new_tokens = max_new_tokens
        self._check = check
        self._loaded: tuple[PreTrainedTokenizerBase, PreTrainedModel] | None = None

    @property
    def model(self) -> str:
        """Name of the model; the metadata of a video must not reveal folders."""
        return Path(self._name).name if Path(self._name).exists() else self._name

    @property
    def provenance(self) -> dict[str, Any]:
        """Source, model, when its files last changed, and the maximum length."""
        files = Path(self._name).glob("*") if Path(self._name).is_dir() else ()
        changed = max((file.stat().st_mtime_ns for file in files), default=0)
        return {
            "source": self.source,
            "model": self._name,
            "changed": changed,
            "max_new_tokens": self._max_new_tokens,
        }

    def answer(self, system: str, question: str, seed: int) -> str:
        """Return the model's answer without changing torch's global random state.

        Raises:
            CheckpointError: the model is missing, damaged, or not a chat model.
        """
        if self._loaded is None:
            self._loaded = _load(self._name, self._device)
        tokenizer, model = self._loaded
        inputs = _chat_inputs(tokenizer, system, question).to(self._device)
        gpus = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(gpus), torch.inference_mode():
            torch.manual_seed(seed)
            ids = model.generate(
                **inputs,
                do_sample=True,
                temperature=TEMPERATURE,
                max_new_tokens=self._max_new_tokens,
                pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id,
                stopping_criteria=[self._goes_on],
            )
        new = ids[0, inputs["input_ids"].shape[1] :]
        return tokenizer.decode(new, skip_special_tokens=True)

    def _goes_on(self, ids: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """Call the check, as a stopping criterion of transformers; returns False for all, `[B]`."""
        self._check()
        return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)

    def close(self) -> None:
        """Free the model's memory for the video model."""
        self._loaded = None
        gc.collect()  # transformers' models hold reference cycles
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def _load(name: str, device: torch.device) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = from_pretrained_offline(AutoTokenizer, name, "chat model")
    options = {"use_safetensors": True, "torch_dtype": "auto"}
    model = from_pretrained_offline(AutoModelForCausalLM, name, "chat model", **options)
    if not tokenizer.chat_template:
        raise CheckpointError(
            f"got model {name!r} without a chat template, expected an instruct or chat model: "
            "choose one, its name often ends in -Instruct"
        )
    return tokenizer, model.eval().to(device)


def _chat_inputs(tokenizer: PreTrainedTokenizerBase, system: str, question: str) -> Any:
    """Apply the model's chat template: token ids and attention mask, `[1, L]` each."""
    from jinja2.exceptions import TemplateError

    def apply(messages: list[dict[str, str]]) -> Any:
        return tokenizer.apply_chat_template(
            messages,
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
            enable_thinking=False,  # for models with both modes; other templates ignore it
        )

    user = {"role": "user", "content": question}
    try:
        return apply([{"role": "system", "content": system}, user])
    except TemplateError:  # some models, such as Gemma 2, have no system role
        return apply([{"role": "user", "content": f"{system}\n\n{question}"}])
