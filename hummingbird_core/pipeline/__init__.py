"""Text to video in one object: text encoder, U-Net sampling, VAE decoder."""

from .output import OutputType, VideoOutput, to_uint8
from .pipeline import HummingbirdPipeline, StepCallback

__all__ = ["HummingbirdPipeline", "OutputType", "StepCallback", "VideoOutput", "to_uint8"]
