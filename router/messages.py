"""The router's words and the wire's: requests into demands and orders, decisions and backends into messages."""

import secrets

from google.protobuf.timestamp_pb2 import Timestamp

from router.decision import Candidate, Decision, Refusal
from router.demand import DEFAULT_SIZE, Demand, Modality, Objective, Tier
from router.execution import Order
from router.previews import MOMENTS
from router.sizes import Size
from router.snapshot import BackendView, State
from scrollintel.visual.v1 import events_pb2, router_pb2, spec_pb2
from services.runtime.errors import seconds

SEED_LIMIT = 2**53  # exclusive; the largest whole number that JSON readers keep

OBJECTIVES = {
    spec_pb2.OBJECTIVE_UNSPECIFIED: Objective.BALANCED,
    spec_pb2.OBJECTIVE_BALANCED: Objective.BALANCED,
    spec_pb2.OBJECTIVE_QUALITY: Objective.QUALITY,
    spec_pb2.OBJECTIVE_LATENCY: Objective.LATENCY,
    spec_pb2.OBJECTIVE_COST: Objective.COST,
}
TIERS = {
    spec_pb2.QUALITY_TIER_UNSPECIFIED: Tier.STANDARD,
    spec_pb2.QUALITY_TIER_DRAFT: Tier.DRAFT,
    spec_pb2.QUALITY_TIER_STANDARD: Tier.STANDARD,
    spec_pb2.QUALITY_TIER_HIGH: Tier.HIGH,
}
MODALITIES = {
    Modality.TEXT_TO_IMAGE: router_pb2.MODALITY_TEXT_TO_IMAGE,
    Modality.VIDEO: router_pb2.MODALITY_VIDEO,
    Modality.UPSCALE: router_pb2.MODALITY_UPSCALE,
}
STATES = {
    State.READY: router_pb2.BACKEND_STATE_READY,
    State.LOADABLE: router_pb2.BACKEND_STATE_LOADABLE,
    State.UNAVAILABLE: router_pb2.BACKEND_STATE_UNAVAILABLE,
    State.DRAINING: router_pb2.BACKEND_STATE_DRAINING,
    State.NEEDS_WEIGHTS: router_pb2.BACKEND_STATE_NEEDS_WEIGHTS,
    State.NOT_CONFIGURED: router_pb2.BACKEND_STATE_NOT_CONFIGURED,
    State.RETIRED: router_pb2.BACKEND_STATE_RETIRED,
}


def demand_of(image: spec_pb2.ImageSpec, objective: spec_pb2.Objective.ValueType) -> Demand:
    """Return what an image request demands of a backend."""
    return Demand(
        modality=Modality.TEXT_TO_IMAGE,
        objective=OBJECTIVES[objective],
        tier=TIERS[image.quality],
        images=image.num_images or 1,
        steps=image.steps if image.HasField("steps") else None,
        guidance_scale=image.guidance_scale if image.HasField("guidance_scale") else None,
        model=image.model_preference,
        size=Size(image.width or DEFAULT_SIZE.width, image.height or DEFAULT_SIZE.height),
    )


def order_of(request: router_pb2.ExecuteRequest) -> Order:
    """Return the order of a request; one without a seed gets one."""
    image = request.image
    return Order(
        demand=demand_of(image, request.objective),
        request_id=request.request_id,
        prompt=image.prompt,
        negative_prompt=image.negative_prompt,
        seed=image.seed if image.HasField("seed") else secrets.randbelow(SEED_LIMIT),
        previews=MOMENTS if request.previews else 0,
    )


def candidates_of(decision: Decision) -> list[events_pb2.Candidate]:
    """Return every backend of a decision: the candidates, best first, then the refused."""
    demand = decision.demand
    candidates = [candidate_of(candidate, demand) for candidate in decision.candidates]
    return [*candidates, *map(refusal_of, decision.refusals)]


def candidate_of(candidate: Candidate, demand: Demand) -> events_pb2.Candidate:
    """Return a candidate with its scores and what it is expected to take."""
    backend = candidate.backend
    return events_pb2.Candidate(
        backend=backend.name,
        model=backend.model,
        score=candidate.score,
        scores=candidate.scores,
        predicted_time=seconds(backend.seconds(demand)),
        predicted_cost_usd=backend.usd(demand),
        predicted_quality=backend.expected_quality(demand),
    )


def refusal_of(refusal: Refusal) -> events_pb2.Candidate:
    """Return a refused backend with the reason."""
    return events_pb2.Candidate(
        backend=refusal.backend.name, model=refusal.backend.model, refusal=refusal.reason
    )


def backend_of(view: BackendView) -> router_pb2.Backend:
    """Return a backend as it is now; `checked_at` is left out before its first probe."""
    checked_at = Timestamp()
    checked_at.FromMicroseconds(round(view.checked_at * 1e6))
    return router_pb2.Backend(
        name=view.name,
        model=view.model,
        modality=MODALITIES[view.modality],
        state=STATES[view.state],
        in_flight=view.in_flight,
        concurrency=view.concurrency,
        checked_at=checked_at if view.checked_at else None,
    )
