"""Training: from scratch, from a teacher, or on a few clips. One training loop, small recipes.

Read in this order:

1. `loop.config`, `loop.micro_batch`, `loop.trainer`   the training loop of every stage; its
   `loop.phase`, `loop.updater`                        several optimizers in one run
2. `distillation.noise`, `distillation.step`           one step of distillation, top to bottom
3. `distillation.losses`                               its objectives
4. `distillation.recipe`, `distillation.stage`         a stage as a YAML file, and its run
5. `distillation.distil`, `distillation.tune`          stage 1 and stage 2

`data/` holds clip sources, `rewards/` reward models, `pruning/` makes students of larger models,
`tiny_decoder/` fast decoders, `lora/` LoRAs for a style or subject, `nano/` the built-in model.
"""
