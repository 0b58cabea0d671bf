"""What the caller is told when no backend can serve: the rules that stood in the way decide the error."""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from router.decision import Decision, Refusal
from router.demand import Demand, Modality
from router.filters import Rule
from router.snapshot import TAKES_WORK, BackendView, Snapshot
from scrollintel.visual.v1 import errors_pb2
from services.runtime.errors import DEFAULT_RETRY_SECONDS, MeshError

NEAR = 0.5  # how alike a name must be to be suggested, in [0, 1]
SUGGESTIONS = 3
LISTED = 20  # refusals that are told: an error travels in trailers, which gRPC bounds to 8 KiB

# What passes by itself: worth trying again.
AWAY = frozenset({Rule.HEALTH, Rule.DRAINING, Rule.TRIED})
# What says nothing of why a backend cannot serve: it was never meant to.
ELSEWHERE = frozenset({Rule.MODALITY, Rule.MODEL})
# What most installations have many of, and no caller can change: they are counted, not listed.
UNUSED = frozenset({Rule.CONFIGURED, Rule.RETIRED})
VIDEO = Modality.VIDEO


class Limit(NamedTuple):
    """A limit that the caller can keep to: the request's field, how near a backend comes, and what it says of itself."""

    field: Callable[[Demand], str]
    nearness: Callable[[Demand, BackendView], float]
    words: Callable[[Demand, BackendView], str]


def _part(name: str) -> Callable[[Demand], str]:
    return lambda demand: f"{'video' if demand.modality is VIDEO else 'image'}.{name}"


# In the order in which they are told.
LIMITS: Mapping[Rule, Limit] = {
    Rule.SOURCE: Limit(
        _part("source_image"),
        lambda _, backend: backend.state in TAKES_WORK,
        lambda _, backend: f"{backend.model} takes no picture to work from; leave it out",
    ),
    Rule.DURATION: Limit(
        _part("duration"),
        lambda _, backend: max(backend.durations),
        lambda _, backend: f"{backend.model} makes at most {max(backend.durations):g} s",
    ),
    Rule.STEPS: Limit(
        _part("steps"),
        lambda _, backend: backend.max_steps,
        lambda _, backend: f"{backend.model} takes at most {backend.max_steps}",
    ),
    Rule.IMAGES: Limit(
        _part("num_images"),
        lambda _, backend: backend.max_images,
        lambda _, backend: f"{backend.model} takes at most {backend.max_images}",
    ),
    Rule.PROMPT: Limit(
        _part("prompt"),
        lambda _, backend: backend.max_prompt or 0,
        lambda _, backend: f"{backend.model} takes at most {backend.max_prompt} characters",
    ),
    Rule.BUDGET: Limit(
        lambda _: "max_cost_usd",
        lambda demand, backend: -backend.usd(demand),
        lambda demand, backend: f"the cheapest is {backend.model} at ${backend.usd(demand):.4g}",
    ),
}


def check_model(model: str, snapshot: Snapshot) -> None:
    """Raise MeshError MODEL_UNKNOWN, with near names, when a preferred model is none of the snapshot's."""
    known = snapshot.models()
    if model and model not in known:
        near = difflib.get_close_matches(model, known, SUGGESTIONS, NEAR) or known[:SUGGESTIONS]
        raise MeshError(
            errors_pb2.ERROR_REASON_MODEL_UNKNOWN,
            f"image.model_preference: no model is called {model}; use {' or '.join(near)}, or leave it out",
            field="image.model_preference",
            suggestions=near,
        )


def refused(decision: Decision, snapshot: Snapshot) -> MeshError:
    """Return the error for a decision without candidates.

    A full backend comes first, then one that is away, then one that would be too late, then a limit of the request, then
    what only the operator can mend: the caller is told the cheapest way to an answer.
    """
    relevant = [refusal for refusal in decision.refusals if refusal.rule not in ELSEWHERE]
    by_rule: dict[Rule, list[BackendView]] = {}
    for refusal in relevant:
        by_rule.setdefault(refusal.rule, []).append(refusal.backend)
    if full := by_rule.get(Rule.ROOM):
        return _full(full)
    if not by_rule.keys() & AWAY:
        if late := by_rule.get(Rule.DEADLINE):
            return _late(decision.demand, late)
        for rule, limit in LIMITS.items():
            if error := _beyond(limit, decision.demand, by_rule.get(rule, ())):
                return error
    return _nobody(decision, relevant, alternatives(decision, snapshot))


def alternatives(decision: Decision, snapshot: Snapshot) -> list[str]:
    """Return the models of the same modality that take work now, but for the preferred one and those that failed."""
    demand = decision.demand
    failed = {backend.model for backend in snapshot.backends if backend.name in demand.tried}
    return sorted(
        {
            backend.model
            for backend in snapshot.backends
            if backend.modality is demand.modality and backend.state in TAKES_WORK and not backend.by_name
        }
        - failed
        - {demand.model}
    )


def _full(backends: Sequence[BackendView]) -> MeshError:
    soonest = min(backends, key=BackendView.wait)
    wait = soonest.wait()
    return MeshError(
        errors_pb2.ERROR_REASON_OVERLOADED,
        f"every backend that could serve this is full; try again in {math.ceil(wait)} s",
        retry_after=wait,
        estimated_wait=wait,
        queue_position=soonest.waiting + 1,
    )


def _late(demand: Demand, backends: Sequence[BackendView]) -> MeshError:
    soonest = min(backends, key=lambda backend: backend.seconds(demand))
    return MeshError(
        errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED,
        f"nobody is expected to be done in {demand.time_limit:.1f} s; {soonest.name} would be the soonest, "
        f"in {soonest.seconds(demand):.1f} ± {soonest.deviation(demand):.1f} s",
    )


def _beyond(limit: Limit, demand: Demand, backends: Sequence[BackendView]) -> MeshError | None:
    """Return the error of the backend that comes nearest to the demand; None without one, or where nobody knows."""
    nearest = max(backends, key=lambda backend: limit.nearness(demand, backend), default=None)
    if nearest is None or not math.isfinite(limit.nearness(demand, nearest)):
        return None
    path = limit.field(demand)
    message = f"{path}: {limit.words(demand, nearest)}"
    return MeshError(errors_pb2.ERROR_REASON_FIELD_INVALID, message, field=path)


def _nobody(decision: Decision, relevant: Sequence[Refusal], others: Sequence[str]) -> MeshError:
    """Return the error where waiting or the operator helps, with what stands in the way."""
    rules = {refusal.rule for refusal in relevant}
    away = bool(rules & AWAY)
    reason = errors_pb2.ERROR_REASON_NO_BACKEND
    if decision.demand.model:
        bare = Rule.WEIGHTS in rules and not away
        reason = (
            errors_pb2.ERROR_REASON_MODEL_NEEDS_WEIGHTS if bare else errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE
        )
    return MeshError(
        reason,
        _told(decision, relevant),
        retry_after=DEFAULT_RETRY_SECONDS if away else None,
        alternative_models=others,
    )


def _told(decision: Decision, relevant: Sequence[Refusal]) -> str:
    """Return the refusals in words: of the named model, or of all backends that could have been meant."""
    demand, everyone = decision.demand, decision.refusals
    meant = [refusal for refusal in everyone if demand.model in ("", refusal.backend.model)]
    if not relevant:  # what they make instead is the answer
        return ": ".join(filter(None, (f"no backend makes {demand.modality}", _list(meant))))
    if demand.model:
        return _list(meant)
    by_name = [refusal for refusal in everyone if refusal.rule is Rule.MODEL]
    listed = [*(refusal for refusal in relevant if refusal.rule not in UNUSED), *by_name]
    unused = sum(refusal.rule in UNUSED for refusal in relevant)
    return "; ".join(filter(None, (_list(listed), _unused(unused))))


def _unused(count: int) -> str:
    plural = "models of paid providers are" if count > 1 else "model of a paid provider is"
    return f"{count} {plural} not configured or shut down (`vmesh providers` tells)" if count else ""


def _list(refusals: Sequence[Refusal]) -> str:
    told = [f"{refusal.backend.name} {refusal.reason}" for refusal in refusals[:LISTED]]
    if len(refusals) > LISTED:
        told.append(f"and {len(refusals) - LISTED} more")
    return "; ".join(told)
