"""The example workflows: their names, graphs and notes; `make_workflows.py` writes the files.

The template browser of ComfyUI searches names only, and lists those first in which the searched
text stands first. So only the name of the workflow that runs at once begins with "hummingbird".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workflow_graphs import (
    BIG,
    BIG_PROMPT,
    BIG_SIZE,
    INTERPOLATOR,
    NANO,
    NANO_PROMPT,
    NANO_SIZE,
    UPSCALER,
    Graph,
    best_of_n,
    continued,
    long_video,
    loop,
    many_prompts,
    prompt_enhance,
    reward_lora,
    smooth_and_large,
    stock_nodes,
    story,
    text_to_video,
    until_good,
)

FIRST = "hummingbird-text-to-video"
# What the front end says of the checkpoint in its list of missing models. From this form of the
# address it offers no download: the file has to be converted, and its licence accepted.
BIG_PAGE = "https://hf.co/amd/AMD-Hummingbird-T2V"
BIG_SOURCE = {"name": BIG, "url": BIG_PAGE, "directory": "checkpoints"}
RUNS_OFFLINE = "Runs with the built-in model."
GET_BIG = (
    f"Needs **{BIG}** in **models/checkpoints**. To get it, select **Download Hummingbird** beside "
    "this note, press Ctrl+M to switch it on, accept the authors' research licence, and press Run; "
    "then press R and choose the file in **Load Hummingbird**."
)


@dataclass(frozen=True)
class Workflow:
    """A graph, and a note (Markdown) that says what it does.

    Notes have no code spans: Nodes 2.0 shows them dark on dark.
    """

    graph: Graph
    note: str

    @property
    def needs_checkpoint(self) -> bool:
        """Return whether it loads the 0.7B checkpoint."""
        return BIG in self._texts()

    @property
    def runs_offline(self) -> bool:
        """Return whether it runs without a file that a user has to get."""
        return not {BIG, INTERPOLATOR, UPSCALER} & self._texts()

    @property
    def app(self) -> dict[str, list[Any]]:
        """Return the parts that an App shows: prompts and seeds, and the saved video.

        The format is the front end's `extra.linearData`, with ids as in `numbered(graph)`.
        """
        ids = {name: number for number, name in enumerate(self.graph, start=1)}
        inputs = [
            [ids[name], key]
            for key in ("prompt", "prompts", "text", "seed")
            for name, node in self.graph.items()
            if not isinstance(node["inputs"].get(key, []), list)
        ]
        saved = [ids[n] for n, node in self.graph.items() if node["class_type"] == "SaveVideo"]
        return {"inputs": inputs, "outputs": saved}

    def _texts(self) -> set[str]:
        values = (value for node in self.graph.values() for value in node["inputs"].values())
        return {value for value in values if isinstance(value, str)}


def _note(title: str, *paragraphs: str) -> str:
    return "\n\n".join((f"## Hummingbird: {title}", *paragraphs))


WORKFLOWS = {
    FIRST: Workflow(
        text_to_video(NANO, NANO_PROMPT, NANO_SIZE),
        _note(
            "text to video, built-in model",
            "Press Run: no download, no GPU, no network. The built-in model generates 64x64 videos "
            "from a small vocabulary: a *hummingbird, cat, fox, panda, frog, fish, rocket, car, "
            "mushroom* or *octopus*, or a *colour* *shape*, that moves *left, right, up* or "
            "*down*, *bobs*, *swings*, *spins* or *hovers*, *over a meadow, over the sea, in the "
            "desert, at night*, on a *dark* or *light* background; the camera *pans* or *zooms*.",
            "A different seed gives a different video.",
        ),
    ),
    "0.7b-hummingbird-text-to-video": Workflow(
        text_to_video(BIG, BIG_PROMPT, BIG_SIZE),
        _note(
            "text to video, 0.7B",
            "26 frames of 512x320 in 8 steps.",
            GET_BIG,
            "4 steps take half the time; 16 frames take less memory.",
        ),
    ),
    "stock-nodes-hummingbird": Workflow(
        stock_nodes(),
        _note(
            "ComfyUI's own nodes",
            "MODEL, CLIP and VAE are ComfyUI's own types: only the loader and the empty video are "
            "nodes of this pack. **FluxGuidance** sets the guidance, **LTXVConditioning** the "
            "frame rate that the motion is generated for; cfg stays 1.",
            GET_BIG,
        ),
    ),
    "reward-lora-hummingbird": Workflow(
        reward_lora(),
        _note(
            "a reward LoRA",
            "Loads **unet_lora.pt** from **models/loras** in its released format, a list without "
            "layer names, and reports the layers that did not fit.",
            GET_BIG,
        ),
    ),
    "prompt-enhance-hummingbird": Workflow(
        prompt_enhance(),
        _note(
            "prompt enhancement",
            "A few words become a detailed prompt that fits the text window. **source** *builtin* "
            "needs nothing; *local* and *server* use a language model.",
            GET_BIG,
        ),
    ),
    "best-of-n-hummingbird": Workflow(
        best_of_n(),
        _note(
            "Best of N",
            "Samples, decodes and scores videos of four seeds and outputs the best. The node shows "
            "all scores and a contact sheet, best first.",
            f"{RUNS_OFFLINE} **metric** *agreement* compares each video with the prompt; for the "
            "0.7B model, name a downloaded CLIP-class model at **agreement_model**. With DOVER's "
            "weights (**DOVER.pth** or **DOVER-Mobile.pth**, from VQAssessment/DOVER on GitHub) in "
            "**models/vqa**, choose the file at **dover**, and *auto*.",
        ),
    ),
    "until-good-hummingbird": Workflow(
        until_good(),
        _note(
            "seeds until a score is reached",
            "**Best of N** tries up to 16 seeds and stops at the first video without defects "
            "whose **metric** reaches **threshold**. Otherwise it outputs the best of the 16.",
            "This needs no loop of nodes, which ComfyUI 0.33 and older do not have. "
            f"{RUNS_OFFLINE}",
        ),
    ),
    "many-prompts-hummingbird": Workflow(
        many_prompts(),
        _note(
            "many prompts at once",
            "One prompt per line. All nodes after the list run once per prompt, and one video is "
            "saved for each. **VQA Score** scores each video.",
            RUNS_OFFLINE,
        ),
    ),
    "loop-hummingbird": Workflow(
        loop(),
        _note(
            "a loop",
            "**loop** *on* makes the first frame follow the last one, for motions that come back: "
            "bobs, swings, spins and hovers are those of the built-in model. *swing* plays half of "
            "the frames there and back, for all others.",
            f"For KSampler, put **Loop Video** behind the loader. {RUNS_OFFLINE}",
        ),
    ),
    "story-hummingbird": Workflow(
        story(),
        _note(
            "a story",
            "One prompt with a text for each part: **16:** is a frame, **2.5s:** a second. Texts "
            "are blended over four frames.",
            RUNS_OFFLINE,
        ),
    ),
    "continue-hummingbird": Workflow(
        continued(),
        _note(
            "continue a video, or an image",
            "The last four frames of a video are kept as the first of another one, and both are "
            "joined. For an image, connect **Load Image**, scaled to the size of the video, to "
            "**VAE Encode**.",
            "No model was trained to continue frames: it tends to agree with them. Describe them "
            f"in the prompt. {RUNS_OFFLINE}",
        ),
    ),
    "smooth-and-large-hummingbird": Workflow(
        smooth_and_large(),
        _note(
            "more frames, more pixels",
            "ComfyUI's own nodes go behind **Decode**: RIFE or FILM doubles the frames, and an "
            "upscaler enlarges them.",
            "Needs ComfyUI 0.30 or newer, an interpolation model in **models/frame_interpolation** "
            f"(here **{INTERPOLATOR}**) and one in **models/upscale_models** (here "
            f"**{UPSCALER}**).",
        ),
    ),
    "long-video-hummingbird": Workflow(
        long_video(),
        _note(
            "a long video",
            "64 frames through windows of 16 that overlap by 4. **dim** must be 2, the frame axis. "
            "Every window follows the same prompt, so the video continues one scene.",
            "Without **Context Windows**, *Sample Video* uses windows of 16 that overlap by 8.",
            GET_BIG,
        ),
    ),
}
