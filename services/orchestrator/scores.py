"""Joins quality scores: of several pictures into one, and of several servers into one."""

from collections.abc import Sequence

from scrollintel.visual.v1.quality_pb2 import QualityMetrics, Score
from scrollintel.visual.v1.safety_pb2 import CheckImageResponse

NAMES = tuple(field.name for field in QualityMetrics.DESCRIPTOR.fields)


def with_safety(metrics: QualityMetrics, checked: CheckImageResponse) -> QualityMetrics:
    """Return the scores with how safe the picture is, as measured by the checks that ran."""
    joined = QualityMetrics()
    joined.CopyFrom(metrics)
    measured_by = ", ".join(checked.verdict.checks)
    joined.safety.CopyFrom(Score(value=min(1.0, max(0.0, checked.safety_score)), measured_by=measured_by))
    return joined


def mean(metrics: Sequence[QualityMetrics]) -> QualityMetrics:
    """Return the mean of each score; one that any picture lacks is absent, as is every score of no pictures."""
    joined = QualityMetrics()
    for name in NAMES:
        scores: list[Score] = [getattr(each, name) for each in metrics if each.HasField(name)]  # type: ignore[arg-type]
        if scores and len(scores) == len(metrics):
            value = sum(score.value for score in scores) / len(scores)
            measured_by = ", ".join(dict.fromkeys(score.measured_by for score in scores))
            getattr(joined, name).CopyFrom(Score(value=min(1.0, value), measured_by=measured_by))
    return joined
