"""VBench (arXiv 2311.17982): 16 dimensions of a text-to-video model, and their total.

Read in this order:

1. `prompts`    prompts, and names of the videos
2. `export`     generation of the videos, as by `hummingbird generate`
3. `official`   scores by the authors' package, in a separate environment
   `flicker`    the one dimension that needs neither a network nor that package
4. `scores`     results of the package -> quality, semantic, total
5. `report`     comparison with published systems: table, radar plot

The command is `hummingbird evaluate vbench`. Prompts and published numbers are in assets/vbench;
no code of VBench is included.
"""
