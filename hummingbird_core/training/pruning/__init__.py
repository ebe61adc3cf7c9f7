"""Smaller models out of larger ones: which blocks go, what that costs; smaller decoders too."""
