"""What the quality server exports of the models' scores."""

import structlog

from services.quality.drift import Change, State
from services.runtime import telemetry

_baseline = telemetry.meter.create_gauge(
    "vmesh.quality.baseline", description="Mean of a model's first scores, by model and score"
)
_average = telemetry.meter.create_gauge(
    "vmesh.quality.average", description="Moving average of a model's scores, by model and score"
)
_distance = telemetry.meter.create_gauge(
    "vmesh.quality.drift",
    description="Deviations of the average from the baseline, beyond 3.5 out of control, by model and score",
)

log = structlog.get_logger()


def tell(change: Change) -> None:
    """Set the figures of a chart, and log when it comes out of control or back."""
    labels = {"vmesh.model": change.model, "vmesh.score": change.score}
    _baseline.set(change.chart.mean, labels)
    _average.set(change.chart.average, labels)
    _distance.set(change.chart.distance, labels)
    now = change.chart.state
    if now is not change.before and {now, change.before} != {State.LEARNING, State.USUAL}:
        write = log.info if now is State.USUAL else log.warning
        write(
            "a model's scores have changed",
            model=change.model,
            score=change.score,
            state=now.value,
            baseline=round(change.chart.mean, 4),
            average=round(change.chart.average, 4),
        )
