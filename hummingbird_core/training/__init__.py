"""Making models: of nothing, of a teacher, of one's own clips. One trainer, small recipes.

Read in this order:

1. `train_settings`, `parts`, `trainer`   the loop of every stage, and what a step is made of
   (`processes`, `training_state`, `ema`, `optimizers`, `progress`, `stopping` serve it)
2. `noise`, `guidance`, `on_policy`, `step`   noisy clips, and what teacher and student say of them
3. `distances`, `objectives`              what of that a student is trained for
4. `recipe`, `stage`                      a stage as a YAML file, and what runs it
   (`recipe_files`, `run_record`, `validation`, `judging` serve it)
5. `distil`, `tune`                       stage 1 and stage 2

`data/` gives clips, `nano/` makes the built-in model and its world, `pruning/` makes students and
decoders out of larger models, `rewards/` judges, `lora/` makes LoRAs for a style or subject.
"""
