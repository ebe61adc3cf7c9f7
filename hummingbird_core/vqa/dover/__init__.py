"""DOVER (arXiv 2211.04894): learned technical and aesthetic quality."""

DEFAULT_SEED = 42  # the authors' seed of the fragments
