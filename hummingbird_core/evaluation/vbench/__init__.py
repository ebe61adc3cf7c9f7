"""VBench (arXiv 2311.17982): 16 dimensions of a text-to-video model, and their total.

Read in this order:

1. `prompts`    which prompts, and how the videos have to be called
2. `export`     the videos, through the same path as `hummingbird generate`
3. `official`   the authors' package scores them, in an environment of its own
   `flicker`    the one dimension that needs no network, without that package
4. `scores`     the package's results -> quality, semantic, total
5. `report`     beside the published systems: a table, a radar plot

`command` is `hummingbird evaluate vbench`. The prompts and the published numbers lie in
assets/vbench; no code of VBench is here.
"""
