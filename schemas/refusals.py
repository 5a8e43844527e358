"""The codes by which machines know why a model did not take an image; the sentence beside a code is for people."""

from typing import Literal

Code = Literal[
    "",
    "not_radiograph",
    "not_colour",
    "underexposed",
    "overexposed",
    "low_contrast",
    "blank",
    "cut_off",
    "rotated",
    "wrong_body_part",
    "wrong_view",
    "age",
    "too_small",
    "raw_detector_data",
    "several_frames",
]
"""Empty where a refusal has no code of its own: the model's own preprocessing said no."""
