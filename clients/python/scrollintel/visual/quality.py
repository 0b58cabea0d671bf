"""What was measured of a picture."""

from collections.abc import Iterator
from dataclasses import dataclass, fields

from scrollintel.visual.v1 import quality_pb2 as pb

DETAILS = frozenset({"noise", "blockiness", "banding", "exposure", "naturalness"})
"""Scores that say why `technical` is what it is; who has one line for all leaves them out."""


@dataclass(frozen=True, slots=True)
class Score:
    """One measured score."""

    value: float
    """In [0, 1]; higher is better."""
    measured_by: str
    """Name and version of what measured it, such as `brisque/1`."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Scores of a picture or a video. A score that was not measured is None, never 0."""

    overall: Score | None = None
    technical: Score | None = None
    aesthetic: Score | None = None
    prompt_adherence: Score | None = None
    safety: Score | None = None
    uniqueness: Score | None = None
    sharpness: Score | None = None
    color_balance: Score | None = None
    composition: Score | None = None
    temporal_consistency: Score | None = None
    motion_smoothness: Score | None = None
    frame_quality: Score | None = None
    noise: Score | None = None
    blockiness: Score | None = None
    banding: Score | None = None
    exposure: Score | None = None
    naturalness: Score | None = None

    @classmethod
    def read(cls, message: pb.QualityMetrics) -> "Quality":
        """Read scores from the wire."""
        present = {field.name: score for field, score in message.ListFields()}
        return cls(**{name: Score(score.value, score.measured_by) for name, score in present.items()})

    def measured(self) -> Iterator[tuple[str, Score]]:
        """Yield the name and score of everything that was measured, `overall` first."""
        for field in fields(self):
            score: Score | None = getattr(self, field.name)
            if score is not None:
                yield field.name, score
