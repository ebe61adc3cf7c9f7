"""Judges of clips as users write them: functions that worker processes import."""

from __future__ import annotations


def by_caption():
    """A judge that likes long captions."""
    return lambda frames, fps, caption: {"letters": len(caption), "rate": fps}


def constant():
    """A judge with a name that `by_caption` has, too."""
    return lambda frames, fps, caption: {"letters": 1, "other": 2}


def trouble():
    """Fill the memory for red, answer with a text for green and with a taken name for blue."""

    def judge(frames, fps, caption):
        color = int(frames.mean(axis=(0, 1, 2)).argmax())
        if color == 0:
            raise MemoryError("out of memory")
        return {"mark": "good"} if color == 1 else {"blur": 1.0}

    return judge


def seven(frames):
    return "I give it a 7 of 10."


def sometimes():
    """A judge like `by_caption` that fills the memory for red."""

    def judge(frames, fps, caption):
        if frames.mean(axis=(0, 1, 2)).argmax() == 0:
            raise MemoryError("out of memory")
        return {"letters": len(caption)}

    return judge
