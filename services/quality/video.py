"""A video as it is scored: frame by frame, and nothing of a frame kept but numbers."""

import math
from dataclasses import dataclass, field

from services.quality.measure import Learnt, Scores, look, measure_faults
from services.quality.metrics.luminance import Pixels
from services.quality.metrics.motion import CONSISTENCY_NAME, SMOOTHNESS_NAME, Motion
from services.quality.scoring import Measured

FRAME_QUALITY_NAME = "worst-tenth/1"
SEEN_SIDE = 512  # half of what a still picture is seen at: a frame is looked at for a fraction of a second
WORST_SHARE = 0.1


@dataclass
class Video:
    """What was measured of the frames so far. `move` and `judge` may run side by side, each for one frame at a time."""

    learnt: Learnt
    motion: Motion = field(default_factory=Motion)
    technical: list[float] = field(default_factory=list)
    adherence: list[Measured] = field(default_factory=list)
    """Of the frames that were shown to the matcher."""

    def move(self, picture: Pixels) -> None:
        """Follow the motion into the next frame, [H, W, 3] RGB."""
        self.motion.add(picture)

    def judge(self, picture: Pixels) -> None:
        """Measure the technical faults of the next frame, [H, W, 3] RGB."""
        found = measure_faults(look(picture, SEEN_SIDE), self.learnt).get("technical")
        if found is not None:
            self.technical.append(found.value)

    def scores(self) -> Scores:
        """Return the scores by their names in QualityMetrics; what cannot be had of so few frames is left out."""
        values = {
            "temporal_consistency": (self.motion.consistency, CONSISTENCY_NAME),
            "motion_smoothness": (self.motion.smoothness, SMOOTHNESS_NAME),
            "frame_quality": (worst(self.technical), FRAME_QUALITY_NAME),
        }
        scores = {name: Measured(value, by) for name, (value, by) in values.items() if value is not None}
        if self.adherence:
            mean = math.fsum(one.value for one in self.adherence) / len(self.adherence)
            scores["prompt_adherence"] = Measured(mean, self.adherence[0].by)
        return scores


def worst(values: list[float]) -> float | None:
    """Return the mean of the worst tenth, at least of one; None of none."""
    if not values:
        return None
    count = math.ceil(WORST_SHARE * len(values))
    return math.fsum(sorted(values)[:count]) / count
