"""Adapters of models that judge clips, as `curate --judge MODULE:FUNCTION=MODEL` names them.

Each function takes the name of a model and returns a function of frames (uint8 `[T, H, W, 3]`), fps
and caption that gives columns of numbers. No weights come with this package.
"""
