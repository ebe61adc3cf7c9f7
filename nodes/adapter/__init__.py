"""Native ComfyUI objects for Hummingbird models, and sampling with them as ComfyUI samples.

The nodes are thin; everything that knows ComfyUI's inner workings is here. Nothing of ComfyUI is
patched: its own extension points and subclasses of its classes do the work. Imports go down only:

    sampling    `sample` one video, long ones in `context_windows`, the `best_of` several seeds
    io          `files` in model folders, `downloads`, `prompts`, `latents`, `frames`, their
                `scoring`, the doctor's `report`
    model       a `checkpoint` to MODEL (`unet`), CLIP (`text`) and VAE (`autoencoder`); `lora`;
                files for core's save nodes (`saving`); other nodes' `patches` of the U-Net, and
                the `guard` of a MODEL: its `schedule`, its merges, the `memory` of a video
    ui          `progress` and a moving `preview` on the page of the user
    errors      errors that name the input of a node
"""
