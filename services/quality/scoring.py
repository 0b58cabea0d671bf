"""Scores and what they come to together."""

from collections.abc import Mapping
from dataclasses import dataclass

OVERALL_NAME = "weighted-mean/1"

# How much each score says about the whole. What the picture shows weighs most, then whether it has faults; where the
# subject sits and how the colours lie are matters of taste and weigh least.
WEIGHTS: dict[str, float] = {
    "prompt_adherence": 0.30,
    "technical": 0.25,
    "sharpness": 0.20,
    "composition": 0.15,
    "color_balance": 0.10,
}

# Of a video: what it shows, its worst moments, and whether it holds together; how it moves may be meant.
VIDEO_WEIGHTS: dict[str, float] = {
    "prompt_adherence": 0.30,
    "frame_quality": 0.30,
    "temporal_consistency": 0.25,
    "motion_smoothness": 0.15,
}


@dataclass(frozen=True)
class Measured:
    """A score in [0, 1], higher is better, and the name and version of what measured it."""

    value: float
    by: str


def overall(scores: Mapping[str, Measured], weights: Mapping[str, float] = WEIGHTS) -> Measured | None:
    """Return the weighted mean of the scores there are; the weights of the others are left out. None without any."""
    present = {name: weight for name, weight in weights.items() if name in scores}
    if not present:
        return None
    total = sum(weight * scores[name].value for name, weight in present.items())
    return Measured(total / sum(present.values()), OVERALL_NAME)
