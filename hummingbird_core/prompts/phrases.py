"""Phrases of the built-in expander.

Every phrase must read well after any subject, singular or plural, living or not, and must not add
what the user may not want: no weather, no time of day indoors, no other objects. This file is data
only, so that anyone can extend it.
"""

from __future__ import annotations

from .text import word_set

# Words that determine the kind of a prompt's subject; the first one in the prompt decides.
KINDS = {
    "person": word_set(
        "man woman boy girl child children kid baby person people dancer couple crowd "
        "astronaut chef musician painter player runner king queen knight soldier lady"
    ),
    "animal": word_set(
        "animal dog puppy cat kitten fox wolf bear horse bird eagle owl hummingbird parrot "
        "fish shark whale dolphin turtle lion tiger elephant panda rabbit deer cow butterfly bee"
    ),
    "water": word_set("ocean sea wave river lake waterfall stream shore coast rain fountain"),
    "landscape": word_set(
        "mountain forest field meadow valley desert canyon hill beach island tree flower "
        "garden jungle volcano glacier sky cloud landscape"
    ),
    "city": word_set(
        "city street skyline building bridge tower market town village castle temple alley"
    ),
    "vehicle": word_set(
        "car train bus bicycle bike motorcycle truck boat ship sailboat airplane plane "
        "rocket spaceship helicopter balloon tram"
    ),
}

# Words that show that the user has chosen an aspect, so that nothing is added to it.
SAID = {
    "motion": word_set("still motionless frozen static timelapse lapse motion movement"),
    "camera": word_set(
        "camera shot close closeup zoom pan tracking aerial drone view angle handheld "
        "dolly orbit macro pov timelapse lapse overhead"
    ),
    "light": word_set(
        "light lit sunlight sunlit sun sunny sunset sunrise dawn dusk night midnight noon "
        "morning evening afternoon moonlight moonlit moon neon shadow silhouette backlit candle "
        "candlelight dark bright glow lamp lantern fire fog mist storm stormy rainy cloudy "
        "overcast underwater"
    ),
    "style": word_set(
        "style cinematic photorealistic realistic realism anime cartoon manga painting "
        "watercolor watercolour oil sketch drawing pixel render rendered 3d cgi film documentary "
        "vintage retro noir monochrome illustration animation animated claymation lego cyberpunk "
        "surreal abstract minimalist pixar ghibli"
    ),
    "detail": word_set("detail detailed sharp focus 4k 8k hd blurry bokeh texture"),
}

# Phrases for a motion that the user named, and for subjects of unknown kind.
SMOOTH_MOTION = (
    "smooth and natural motion",
    "fluid and lifelike motion",
    "steady and continuous motion",
    "graceful and even motion",
)
MOTION = {
    "person": (
        "relaxed and natural movements",
        "calm and unhurried gestures",
        "lifelike body movement",
        "subtle and expressive movements",
    ),
    "animal": (
        "alert and full of life",
        "calm and natural movements",
        "soft and lifelike movements",
        "moving with natural ease",
    ),
    "water": (
        "water flowing smoothly",
        "gentle ripples and soft reflections",
        "the surface moving in a slow rhythm",
        "continuous and natural water movement",
    ),
    "landscape": (
        "a light wind passing through the scene",
        "slow and peaceful movement all over the scene",
        "everything swaying almost imperceptibly",
        "a gentle breeze in the air",
    ),
    "city": (
        "subtle movement in the background",
        "the scene quietly alive",
        "slow and steady movement through the scene",
        "small movements far and near",
    ),
    "vehicle": (
        "gliding forward steadily",
        "in smooth and steady motion",
        "moving on at an even pace",
        "seen in continuous forward motion",
    ),
}

CAMERA = (
    "slow tracking shot",
    "steady medium shot",
    "slow push-in of the camera",
    "gentle pan from left to right",
    "static wide shot",
    "low-angle shot",
    "smooth dolly shot",
    "eye-level shot with shallow depth of field",
)

LIGHT = (
    "soft natural light",
    "warm light from the side",
    "gentle diffused light",
    "clear and even light",
    "soft contrast of light and shadow",
)
OUTDOOR_KINDS = ("water", "landscape", "city", "vehicle")
OUTDOOR_LIGHT = (
    "low golden sunlight",
    "the soft light of early morning",
    "bright daylight under an open sky",
    "warm light of the late afternoon",
)

STYLE = (
    "cinematic look",
    "photorealistic style",
    "documentary style",
    "natural film colours",
    "soft cinematic colours",
    "clean and realistic look",
)

DETAIL = (
    "in sharp focus",
    "finely detailed",
    "rich in fine texture",
    "crisp and clear",
)
