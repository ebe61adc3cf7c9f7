"""Best of N: sample several seeds, keep the best video."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..hummingbird_core.hub.local import BUILT_IN_AGREEMENT
from ..hummingbird_core.sampling import video_seed
from .adapter.io.scoring import contact_sheet
from .adapter.sampling.best_of import METRICS, best_of
from .common import (
    ADVANCED,
    CATEGORY,
    dover_input,
    loop_input,
    sampling_inputs,
    schema,
    video_settings,
)


class BestOfN(io.ComfyNode):
    """Node that samples several seeds and keeps the best video."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Describe the node to ComfyUI."""
        return schema(
            node_id="HummingbirdBestOfN",
            display_name="Best of N",
            category=CATEGORY,
            search_aliases=["best of seeds", "pick the best video", "seed search"],
            description="Samples, decodes and scores the same prompt with several seeds and "
            "keeps the best video. Videos with defects (black, frozen, flickering ...) are "
            "ranked last.",
            inputs=[
                io.Model.Input("model", tooltip="From Load Hummingbird."),
                io.Conditioning.Input("positive", tooltip="The prompt, from Encode Prompt."),
                io.Vae.Input("vae", tooltip="The VAE from Load Hummingbird."),
                io.Int.Input(
                    "count",
                    default=4,
                    min=1,
                    max=64,
                    tooltip="Number of seeds to try: seed, seed + 1, ...",
                ),
                io.Combo.Input(
                    "metric",
                    options=list(METRICS),
                    tooltip="Metric that ranks the videos. auto: overall with DOVER's "
                    "weights, otherwise motion_smoothness. agreement: how well video and prompt "
                    "agree, by agreement_model.",
                ),
                io.Float.Input(
                    "threshold",
                    default=0.0,
                    min=0.0,
                    max=100.0,
                    step=0.01,
                    tooltip="Stop at the first video without defects that reaches this "
                    "value; 0: try all seeds.",
                    **ADVANCED,
                ),
                dover_input(),
                *sampling_inputs(),
                loop_input(),
                io.String.Input(
                    "agreement_model",
                    default=BUILT_IN_AGREEMENT,
                    optional=True,
                    tooltip="For metric agreement: nano-agreement, which knows the prompts of the "
                    "built-in model only, or folder or id of a downloaded CLIP-class model.",
                    **ADVANCED,
                ),
                io.Conditioning.Input(
                    "negative",
                    optional=True,
                    tooltip="For teachers only: the conditioning of an empty prompt.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The frames of the best video."),
                io.Latent.Output(display_name="latent", tooltip="The latent of the best video."),
                io.Int.Output(
                    display_name="best_seed",
                    tooltip="The seed of the best video, for Sample Video.",
                ),
                io.Float.Output(display_name="score", tooltip="The metric of the best video."),
                io.String.Output(display_name="report", tooltip="Scores of all seeds, best first."),
                io.Video.Output(display_name="video", tooltip="The best video, for Save Video."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: Any,
        vae: Any,
        count: int,
        metric: str,
        threshold: float,
        dover: str,
        seed: int,
        agreement_model: str = BUILT_IN_AGREEMENT,
        negative: Any = None,
        **settings: Any,
    ) -> io.NodeOutput:
        """Run the node; arguments are the values of its inputs."""
        ranked = best_of(
            model,
            positive,
            vae,
            video_settings(settings),
            [video_seed(seed, i) for i in range(count)],
            negative=negative,
            metric=metric,
            threshold=threshold,
            dover=dover,
            agreement_model=agreement_model,
        )
        preview = contact_sheet([candidate.row for candidate in ranked.candidates])
        return io.NodeOutput(
            ranked.images,
            ranked.latent,
            ranked.best.seed,
            ranked.best.value,
            ranked.report,
            ranked.video,
            ui={**preview, "hummingbird_scores": ranked.shown, "text": (ranked.report,)},
        )
