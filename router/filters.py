"""The filters: which backends may serve a demand, each rule with the words of its refusal. Pure.

A filter looks at the demand, at the backend, and at what the demand is expected to come to there; it returns why it
refuses, or nothing. `FILTERS` is the order they are asked in, and the first refusal is the one that is told: what the
caller can change comes before what time will mend, and the deadline last, so that more time is all that lacks there.
"""

import math
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from router.demand import Demand
from router.snapshot import BackendView, Estimate, State

# Python looks a member of an enum up ten times slower than a global, and these are asked for every backend of every
# request.
UNAVAILABLE, DRAINING, NEEDS_WEIGHTS = State.UNAVAILABLE, State.DRAINING, State.NEEDS_WEIGHTS
NOT_CONFIGURED, RETIRED = State.NOT_CONFIGURED, State.RETIRED
ROUNDING = 1e-9  # US dollars; sixteen times four cents is not quite sixty-four


class Rule(StrEnum):
    """The rules, by the name they have in explanations and metrics."""

    MODALITY = "modality"
    MODEL = "model"
    TENANT = "tenant"
    STEPS = "steps"
    IMAGES = "images"
    PROMPT = "prompt"
    SOURCE = "source"
    DURATION = "duration"
    BUDGET = "budget"
    TRIED = "tried"
    WEIGHTS = "weights"
    CONFIGURED = "configured"
    RETIRED = "retired"
    HEALTH = "health"
    DRAINING = "draining"
    ROOM = "room"
    DEADLINE = "deadline"


def makes_it(demand: Demand, backend: BackendView, _: Estimate) -> str:
    """Refuse what makes something else: an image request never reaches a video backend."""
    return "" if backend.modality is demand.modality else f"makes {backend.modality}, not {demand.modality}"


def is_preferred(demand: Demand, backend: BackendView, _: Estimate) -> str:
    """Refuse other models when the caller named one (a requirement, not a hint), and without a name those that need it."""
    if demand.model:
        return f"serves {backend.model}, not {demand.model}" if backend.model != demand.model else ""
    return "draws only for those who name it" if backend.by_name else ""


def is_allowed(demand: Demand, backend: BackendView, _: Estimate) -> str:
    """Refuse what the tenant's policy rules out: external providers, licences that forbid sale, all but some models."""
    if backend.external and not demand.external:
        return "is an external provider, which this tenant does not allow"
    if not backend.commercial and not demand.noncommercial:
        return "has a non-commercial licence, which this tenant does not allow"
    if demand.allowed is not None and backend.model not in demand.allowed:
        return "is not among the models that this tenant allows"
    return ""


def takes_steps(demand: Demand, backend: BackendView, _: Estimate) -> str:
    """Refuse more denoising steps than the model takes; one without steps leaves them aside."""
    steps = demand.steps
    if steps is None or steps <= backend.max_steps or not backend.takes_steps:
        return ""
    return f"takes at most {backend.max_steps} steps, not {steps}"


def takes_images(demand: Demand, backend: BackendView, _: Estimate) -> str:
    """Refuse more images than the backend draws in one request."""
    images = demand.images
    return f"draws at most {backend.max_images} images, not {images}" if images > backend.max_images else ""


def takes_prompt(demand: Demand, backend: BackendView, _: Estimate) -> str:
    """Refuse a prompt, as it is worded for the model, that is longer than the provider takes."""
    most = backend.max_prompt
    if most is None or (length := demand.length_for(backend.model)) <= most:
        return ""
    return f"takes at most {most} characters, not {length}"


def takes_source(demand: Demand, backend: BackendView, _: Estimate) -> str:
    """Refuse what draws from words alone when there is a picture to work from: it would be left out without a word."""
    return "takes no picture to work from" if demand.edits and not backend.edits else ""


def makes_duration(demand: Demand, backend: BackendView, _: Estimate) -> str:
    """Refuse a video longer than the backend makes; a shorter one becomes the nearest length that it makes."""
    longest = max(backend.durations, default=math.inf)
    return f"makes at most {longest:g} s, not {demand.duration:g} s" if demand.duration > longest else ""


def is_affordable(demand: Demand, backend: BackendView, estimate: Estimate) -> str:
    """Refuse what would cost more than the caller gives; a caller who gives nothing gets own models alone."""
    most = demand.max_usd
    if most is None:
        return ""
    if backend.paid and not most:
        return "costs money, and nothing may be spent"
    usd = estimate.usd
    if usd <= most + ROUNDING:
        return ""
    return f"costs ${usd:.4g}, more than ${most:.4g}" if math.isfinite(usd) else "has no known price"


def is_untried(demand: Demand, backend: BackendView, _: Estimate) -> str:
    """Refuse a backend that failed this very request."""
    return "failed this request already" if backend.name in demand.tried else ""


def has_weights(_: Demand, backend: BackendView, __: Estimate) -> str:
    """Refuse a model whose weights are not on this installation, and say how to fill the slot."""
    return f"needs weights: {backend.remedy}" if backend.state is NEEDS_WEIGHTS else ""


def is_configured(_: Demand, backend: BackendView, __: Estimate) -> str:
    """Refuse a provider that has no key or address here, and say which setting it wants."""
    return f"is not configured: {backend.remedy}" if backend.state is NOT_CONFIGURED else ""


def is_alive(_: Demand, backend: BackendView, __: Estimate) -> str:
    """Refuse a model that its provider has shut down."""
    return "was shut down by its provider" if backend.state is RETIRED else ""


def is_healthy(_: Demand, backend: BackendView, __: Estimate) -> str:
    """Refuse a backend that did not answer its last probe, or failed too often lately to be trusted with a request."""
    if backend.state is not UNAVAILABLE:
        return ""
    return "does not answer" if backend.allowance else "does not answer, or failed too often lately"


def is_in_service(_: Demand, backend: BackendView, __: Estimate) -> str:
    """Refuse a backend that finishes its work and takes nothing new."""
    return "is draining" if backend.state is DRAINING else ""


def has_room(_: Demand, backend: BackendView, __: Estimate) -> str:
    """Refuse a backend whose slots and queue are full; one that comes back after failures has fewer slots."""
    if backend.in_flight < backend.slots or backend.waiting < backend.queue:
        return ""
    back = (
        f", trusted with {backend.slots} while it comes back" if backend.slots < backend.concurrency else ""
    )
    return f"is full: {backend.in_flight} running and {backend.waiting} waiting{back}"


def is_in_time(demand: Demand, backend: BackendView, estimate: Estimate) -> str:
    """Refuse what is predicted to miss the deadline, even if it takes one deviation less than expected."""
    limit = demand.time_limit
    if limit is None or estimate.seconds <= limit:
        return ""
    deviation = backend.deviation(demand)
    if estimate.seconds - deviation <= limit:
        return ""
    return f"is expected to take {estimate.seconds:.1f} ± {deviation:.1f} s, and {limit:.1f} s are left"


class Filter(NamedTuple):
    """A rule, how it refuses, and whether it could refuse a demand at all: what nobody asked for need not be checked.

    One that is `standing` looks at the backend alone, and lets pass whatever is `BackendView.open`.
    """

    rule: Rule
    refuses: Callable[[Demand, BackendView, Estimate], str]
    concerns: Callable[[Demand], object] = lambda _: True
    standing: bool = False


FILTERS: tuple[Filter, ...] = (
    Filter(Rule.MODALITY, makes_it),
    Filter(Rule.MODEL, is_preferred),
    Filter(Rule.TENANT, is_allowed, lambda demand: demand.restricted),
    Filter(Rule.STEPS, takes_steps, lambda demand: demand.steps),
    Filter(Rule.IMAGES, takes_images, lambda demand: demand.images > 1),
    Filter(Rule.PROMPT, takes_prompt, lambda demand: demand.prompt_length),
    Filter(Rule.SOURCE, takes_source, lambda demand: demand.edits),
    Filter(Rule.DURATION, makes_duration, lambda demand: demand.duration),
    Filter(Rule.BUDGET, is_affordable, lambda demand: demand.max_usd is not None),
    Filter(Rule.TRIED, is_untried, lambda demand: demand.tried),
    Filter(Rule.WEIGHTS, has_weights, standing=True),
    Filter(Rule.CONFIGURED, is_configured, standing=True),
    Filter(Rule.RETIRED, is_alive, standing=True),
    Filter(Rule.HEALTH, is_healthy, standing=True),
    Filter(Rule.DRAINING, is_in_service, standing=True),
    Filter(Rule.ROOM, has_room, standing=True),
    Filter(Rule.DEADLINE, is_in_time, lambda demand: demand.time_limit is not None),
)


def concerning(demand: Demand) -> tuple[tuple[Filter, ...], tuple[Filter, ...]]:
    """Return the filters that may refuse a demand, in order: those for any backend, and those for one that is open."""
    asked = tuple(one for one in FILTERS if one.concerns(demand))
    return asked, tuple(one for one in asked if not one.standing)
