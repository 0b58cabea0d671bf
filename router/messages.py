"""The router's words and the wire's: requests into demands and orders, decisions and backends into messages."""

import secrets
from dataclasses import replace

from google.protobuf.timestamp_pb2 import Timestamp

from router.backends.protocol import Source
from router.decision import Candidate, Decision, Refusal
from router.demand import DEFAULT_SIZE, FPS, Demand, Modality, Objective, Tier
from router.events import Routed
from router.filters import Rule
from router.order import Order
from router.previews import MOMENTS
from router.prompt_class import classify
from router.sizes import Size
from router.snapshot import BackendView, State
from scrollintel.visual.v1 import events_pb2, router_pb2, spec_pb2
from scrollintel.visual.v1.media_pb2 import MediaRef
from services.runtime.errors import seconds

DEFAULT_VIDEO = Size(1280, 720)
DEFAULT_DURATION = 5.0  # seconds
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

# What stands in the way of a backend for every request of the kind: nothing that this one could have changed.
NEVER = frozenset({Rule.MODALITY, Rule.MODEL, Rule.CONFIGURED, Rule.RETIRED})
LACKING = frozenset({State.NEEDS_WEIGHTS, State.NOT_CONFIGURED})  # what an operator can mend

Asking = router_pb2.RouteRequest | router_pb2.ExecuteRequest


def demand_of(request: Asking) -> Demand:
    """Return what a request demands of a backend."""
    made = _video(request.video) if request.HasField("video") else _image(request.image)
    limit: float | None = None
    worded: tuple[tuple[str, int], ...] = ()
    if isinstance(request, router_pb2.ExecuteRequest):
        worded = tuple((name, _length(one.prompt)) for one in request.wordings for name in one.models)
    elif request.HasField("time_limit"):
        limit = request.time_limit.ToNanoseconds() / 1e9
    return replace(
        made,
        worded_lengths=worded,
        objective=OBJECTIVES[request.objective],
        max_usd=request.max_cost_usd if request.HasField("max_cost_usd") else None,
        time_limit=limit,
    )


def _image(image: spec_pb2.ImageSpec) -> Demand:
    return Demand(
        modality=Modality.TEXT_TO_IMAGE,
        tier=TIERS[image.quality],
        images=image.num_images or 1,
        steps=image.steps if image.HasField("steps") else None,
        guidance_scale=image.guidance_scale if image.HasField("guidance_scale") else None,
        model=image.model_preference,
        size=Size(image.width or DEFAULT_SIZE.width, image.height or DEFAULT_SIZE.height),
        prompt_class=classify(image.prompt, image.style),
        prompt_length=_length(image.prompt),
        edits=image.HasField("source_image"),
    )


def _video(video: spec_pb2.VideoSpec) -> Demand:
    duration = video.duration.ToNanoseconds() / 1e9 if video.HasField("duration") else DEFAULT_DURATION
    return Demand(
        modality=Modality.VIDEO,
        size=Size(video.width or DEFAULT_VIDEO.width, video.height or DEFAULT_VIDEO.height),
        prompt_class=classify(video.prompt, video.style),
        prompt_length=_length(video.prompt),
        duration=duration,
        frames=max(1, round(duration * _fps(video))),
        edits=video.HasField("source_image"),
    )


def _length(prompt: str) -> int:
    """Return the length in UTF-16 code units, as providers count."""
    return len(prompt.encode("utf-16-le")) // 2


def _fps(video: spec_pb2.VideoSpec) -> float:
    return video.fps if video.HasField("fps") else FPS


def order_of(request: router_pb2.ExecuteRequest, demand: Demand, tenant: str, source: Source | None) -> Order:
    """Return the order of a request; one without a seed gets one."""
    image, video = request.image, request.video
    return Order(
        demand=demand,
        request_id=request.request_id,
        prompt=image.prompt or video.prompt,
        negative_prompt=image.negative_prompt,
        seed=image.seed if image.HasField("seed") else secrets.randbelow(SEED_LIMIT),
        previews=MOMENTS if request.previews else 0,
        tenant=tenant,
        user=request.user,
        generation_id=request.generation_id,
        source=source,
        fps=_fps(video) if request.HasField("video") else 0.0,
        wordings=tuple(request.wordings),
    )


def source_of(request: router_pb2.ExecuteRequest) -> MediaRef | None:
    """Return the picture that a request starts from, if it has one."""
    for spec in (request.image, request.video):
        if spec.HasField("source_image"):
            return spec.source_image
    return None


def candidates_of(decision: Decision) -> list[events_pb2.Candidate]:
    """Return every backend of a decision: the candidates, best first, then the refused."""
    demand = decision.demand
    candidates = [candidate_of(candidate, demand) for candidate in decision.candidates]
    return [*candidates, *map(refusal_of, decision.refusals)]


def routed_of(routed: Routed) -> events_pb2.Routed:
    """Return who draws, why, and who was considered besides: not those that never could, which `Route` lists too."""
    chosen, decision = routed.chosen, routed.decision
    demand, name = decision.demand, chosen.backend.name
    others = [candidate_of(one, demand) for one in decision.candidates if one.backend.name != name]
    passed = [refusal_of(one) for one in decision.refusals if one.rule not in NEVER]
    return events_pb2.Routed(
        chosen=candidate_of(chosen, demand), reasons=routed.reasons, runners_up=[*others, *passed]
    )


def candidate_of(candidate: Candidate, demand: Demand) -> events_pb2.Candidate:
    """Return a candidate with its scores, what it is expected to come to, and what is left unknown of that."""
    backend = candidate.backend
    return events_pb2.Candidate(
        backend=backend.name,
        model=backend.model,
        score=candidate.score,
        scores=candidate.scores,
        predicted_time=seconds(candidate.estimate.seconds),
        predicted_time_deviation=seconds(backend.deviation(demand)),
        predicted_cost_usd=candidate.estimate.usd,
        predicted_quality=candidate.estimate.quality,
        predicted_quality_deviation=backend.quality_deviation(demand),
    )


def refusal_of(refusal: Refusal) -> events_pb2.Candidate:
    """Return a refused backend with the reason."""
    return events_pb2.Candidate(
        backend=refusal.backend.name, model=refusal.backend.model, refusal=refusal.reason
    )


def backend_of(view: BackendView) -> router_pb2.Backend:
    """Return a backend as it is now; `checked_at` is left out before its first probe."""
    return router_pb2.Backend(
        name=view.name,
        model=view.model,
        modality=MODALITIES[view.modality],
        state=STATES[view.state],
        in_flight=view.in_flight,
        concurrency=view.concurrency,
        checked_at=_timestamp(view.checked_at),
        remedy=view.remedy if view.state in LACKING else "",
        paid=view.paid,
        retires_at=_timestamp(view.retires_at),
        allowance=view.slots,
    )


def _timestamp(seconds_since_epoch: float) -> Timestamp | None:
    if not seconds_since_epoch:
        return None
    timestamp = Timestamp()
    timestamp.FromMicroseconds(round(seconds_since_epoch * 1e6))
    return timestamp
