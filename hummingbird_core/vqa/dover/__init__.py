"""DOVER (arXiv 2211.04894): learned technical and aesthetic quality."""
