"""Makes native ComfyUI objects of our models, and samples with them the way ComfyUI does.

The nodes beside this package are thin; whatever knows ComfyUI's inner workings is here. Nothing of
ComfyUI is patched: our classes are the ones it would have had, had it known these models.

    checkpoint   a file to MODEL (`unet`), CLIP (`text`) and VAE (`autoencoder`)
    preview      what any sampler shows of a MODEL while it samples
    sampling     SAMPLER, SIGMAS, and a video sampled; `best_of` several seeds
    context_windows   how long videos are cut for the model, in place of ComfyUI's own way
    frames       LATENT to IMAGE and VIDEO; `scoring` of frames
    lora, prompts, downloads, report, files   what single nodes need
    page, errors   what users are told: while a node runs, and when it can't
"""
