"""One attempt at a picture: sized, checked, scored, and what of that counts for the decision whether to go on."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from scrollintel.visual.v1 import errors_pb2, spec_pb2
from scrollintel.visual.v1.events_pb2 import Output
from scrollintel.visual.v1.media_pb2 import MediaRef
from scrollintel.visual.v1.quality_pb2 import QualityMetrics
from scrollintel.visual.v1.safety_pb2 import CheckImageResponse
from scrollintel.visual.v1.spec_pb2 import EnhancementSpec, ImageSpec, QualityMetric
from services.orchestrator import acceptance, delivery
from services.orchestrator.acceptance import Attempt, Goal
from services.orchestrator.delivery import Picture, Progress
from services.orchestrator.drawing import Drawing
from services.orchestrator.steps import Steps
from services.runtime.errors import MeshError


class Measure(NamedTuple):
    """A score's name, and how far apart the pictures of one prompt lie in it: the deviation over seeds."""

    score: str
    spread: float


# The spreads are the house model's (`python -m bench.seeds`, docs/21-loop.md); of beauty nobody has measured any.
MEASURES: dict[QualityMetric.ValueType, Measure] = {
    spec_pb2.QUALITY_METRIC_OVERALL: Measure("overall", 0.05),
    spec_pb2.QUALITY_METRIC_PROMPT_ADHERENCE: Measure("prompt_adherence", 0.15),
    spec_pb2.QUALITY_METRIC_TECHNICAL: Measure("technical", 0.035),
    spec_pb2.QUALITY_METRIC_AESTHETIC: Measure("aesthetic", 0.05),
}


@dataclass(frozen=True)
class Trial:
    """An attempt, and what came of it: the picture with its verdicts, or the safety check's refusal of it."""

    attempt: Attempt
    picture: Picture
    media: MediaRef
    checked: CheckImageResponse = field(default_factory=CheckImageResponse)
    metrics: QualityMetrics = field(default_factory=QualityMetrics)
    refusal: MeshError | None = None


async def judge(
    drawing: Drawing, output: Output, enlargement: EnhancementSpec | None, steps: Steps, progress: Progress
) -> Trial:
    """Size, check and score what was drawn; the picture is not counted among the tenant's results yet.

    It is scored as it would be delivered: most scores say other things of a picture before it was enlarged.
    Raises MeshError where one of that fails, but for what the check refuses and for scores.
    """
    began, picture = time.monotonic(), drawing.picture(output)
    media = await delivery.sized(picture, output.media, enlargement, steps, progress)
    refusal, checked, metrics = None, CheckImageResponse(), QualityMetrics()
    try:
        async with delivery.alongside(delivery.scored(picture, media, steps, remember=False)) as scoring:
            checked = await delivery.check(picture, media, steps, progress)
            metrics = await scoring
    except MeshError as error:
        if error.reason != errors_pb2.ERROR_REASON_OUTPUT_UNSAFE:
            raise
        refusal = error
    attempt = Attempt(
        drawing.chosen.model,
        drawing.chosen.predicted_quality,
        score=_score(metrics, drawing.asked.quality_metric),
        refused=refusal is not None,
        seconds=drawing.seconds + time.monotonic() - began,
        usd=drawing.usd,
    )
    return Trial(attempt, picture, media, checked, metrics, refusal)


def goal(asked: ImageSpec) -> Goal:
    """Return what a picture of a filled spec is to reach."""
    return Goal(asked.min_quality, asked.max_attempts, near=MEASURES[asked.quality_metric].spread)


def best(trials: Sequence[Trial]) -> int | None:
    """Return which trial, from 0, is delivered; None where all were refused."""
    return acceptance.best([one.attempt for one in trials])


def numbered(trials: Sequence[Trial], chosen: int) -> Picture:
    """Return the picture of the chosen trial, from 0, with what its asset shall know of the others."""
    picture = trials[chosen].picture
    told = {**picture.metadata, "attempt": str(chosen + 1), "attempts": str(len(trials))}
    return replace(picture, metadata=told)


def _score(metrics: QualityMetrics, metric: QualityMetric.ValueType) -> float | None:
    name = MEASURES[metric].score
    return getattr(metrics, name).value if metrics.HasField(name) else None  # type: ignore[arg-type]
