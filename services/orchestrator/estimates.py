"""What a generation would come to: as the router expects of its first candidate, and at most, with all that may be drawn again."""

import math
from collections.abc import Sequence

from scrollintel.visual.v1.events_pb2 import Candidate
from scrollintel.visual.v1.generation_pb2 import EstimateGenerationResponse
from scrollintel.visual.v1.router_pb2 import RouteRequest
from scrollintel.visual.v1.spec_pb2 import ImageSpec, Objective
from services.orchestrator.attempts import GOAL
from services.orchestrator.delivery import DELIVERED_AT_ONCE


def routed(
    image: ImageSpec, objective: Objective.ValueType | None, max_cost_usd: float | None
) -> RouteRequest:
    """Return what the router is asked about a filled spec."""
    drawn = ImageSpec()
    drawn.CopyFrom(image)
    for field in GOAL:
        drawn.ClearField(field)  # type: ignore[arg-type]
    return RouteRequest(image=drawn, objective=objective, max_cost_usd=max_cost_usd)


def estimate(
    image: ImageSpec, candidates: Sequence[Candidate], max_cost_usd: float | None
) -> EstimateGenerationResponse:
    """Return the plan of a filled spec, from the router's ranking of it.

    At most every picture is drawn `max_attempts` times: all of them once by the first candidate, then one by one, as many
    at a time as are delivered at once, by the dearest and by the slowest that may be taken.
    """
    again = image.max_attempts - 1 if image.HasField("min_quality") else 0
    answer = EstimateGenerationResponse(candidates=candidates, most_drawings=image.num_images * (1 + again))
    able = [one for one in candidates if not one.refusal]
    if not able:
        return answer
    first = able[0]
    taken = [first] if image.model_preference else [first, *_better(able, first)]
    usd = first.predicted_cost_usd
    if again:  # else an unknown price, which is infinite, would be multiplied by 0
        usd += again * max(one.predicted_cost_usd for one in taken)
    usd = min(usd, math.inf if max_cost_usd is None else max_cost_usd)
    if math.isfinite(usd):
        answer.most_cost_usd = usd
    rounds = again * math.ceil(image.num_images / DELIVERED_AT_ONCE)
    slowest = max(_time(one) for one in taken)
    answer.most_time.FromNanoseconds(round((_time(first) + rounds * slowest) * 1e9))
    return answer


def _better(candidates: Sequence[Candidate], first: Candidate) -> list[Candidate]:
    return [one for one in candidates if one.predicted_quality > first.predicted_quality]


def _time(candidate: Candidate) -> float:
    return candidate.predicted_time.ToNanoseconds() / 1e9
