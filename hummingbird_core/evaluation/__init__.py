"""Evaluation of videos: seams of long videos, and the VBench benchmark."""
