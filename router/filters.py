"""The filters: which backends may serve a demand, each rule with the words of its refusal. Pure.

A filter returns why it refuses, or nothing. `FILTERS` is the order they are asked in, and the first refusal is the one
that is told: what the caller can change comes before what time will mend.
"""

from collections.abc import Callable
from enum import StrEnum

from router.demand import Demand
from router.snapshot import BackendView, State

Filter = Callable[[Demand, BackendView], str]

# Python looks a member of an enum up ten times slower than a global, and these are asked for every backend of every
# request.
UNAVAILABLE, DRAINING, NEEDS_WEIGHTS = State.UNAVAILABLE, State.DRAINING, State.NEEDS_WEIGHTS
NOT_CONFIGURED, RETIRED = State.NOT_CONFIGURED, State.RETIRED


class Rule(StrEnum):
    """The rules, by the name they have in explanations and metrics."""

    MODALITY = "modality"
    MODEL = "model"
    STEPS = "steps"
    IMAGES = "images"
    TRIED = "tried"
    WEIGHTS = "weights"
    CONFIGURED = "configured"
    RETIRED = "retired"
    HEALTH = "health"
    DRAINING = "draining"
    ROOM = "room"


def makes_it(demand: Demand, backend: BackendView) -> str:
    """Refuse what makes something else: an image request never reaches a video backend."""
    return "" if backend.modality is demand.modality else f"makes {backend.modality}, not {demand.modality}"


def is_preferred(demand: Demand, backend: BackendView) -> str:
    """Refuse other models when the caller named one (a requirement, not a hint), and without a name those that need it."""
    if demand.model:
        return f"serves {backend.model}, not {demand.model}" if backend.model != demand.model else ""
    return "draws only for those who name it" if backend.by_name else ""


def takes_steps(demand: Demand, backend: BackendView) -> str:
    """Refuse more denoising steps than the model takes."""
    steps = demand.steps
    return (
        f"takes at most {backend.max_steps} steps, not {steps}" if steps and steps > backend.max_steps else ""
    )


def takes_images(demand: Demand, backend: BackendView) -> str:
    """Refuse more images than the backend draws in one request."""
    images = demand.images
    return f"draws at most {backend.max_images} images, not {images}" if images > backend.max_images else ""


def is_untried(demand: Demand, backend: BackendView) -> str:
    """Refuse a backend that failed this very request."""
    return "failed this request already" if backend.name in demand.tried else ""


def has_weights(_: Demand, backend: BackendView) -> str:
    """Refuse a model whose weights are not on this installation, and say how to fill the slot."""
    return f"needs weights: {backend.remedy}" if backend.state is NEEDS_WEIGHTS else ""


def is_configured(_: Demand, backend: BackendView) -> str:
    """Refuse a provider that has no key or address here, and say which setting it wants."""
    return f"is not configured: {backend.remedy}" if backend.state is NOT_CONFIGURED else ""


def is_alive(_: Demand, backend: BackendView) -> str:
    """Refuse a model that its provider has shut down."""
    return "was shut down by its provider" if backend.state is RETIRED else ""


def is_healthy(_: Demand, backend: BackendView) -> str:
    """Refuse a backend that did not answer its last probe or just failed."""
    return "does not answer" if backend.state is UNAVAILABLE else ""


def is_in_service(_: Demand, backend: BackendView) -> str:
    """Refuse a backend that finishes its work and takes nothing new."""
    return "is draining" if backend.state is DRAINING else ""


def has_room(_: Demand, backend: BackendView) -> str:
    """Refuse a backend whose slots and queue are full."""
    if backend.in_flight < backend.slots or backend.waiting < backend.queue:
        return ""
    return f"is full: {backend.in_flight} running and {backend.waiting} waiting"


FILTERS: tuple[tuple[Rule, Filter], ...] = (
    (Rule.MODALITY, makes_it),
    (Rule.MODEL, is_preferred),
    (Rule.STEPS, takes_steps),
    (Rule.IMAGES, takes_images),
    (Rule.TRIED, is_untried),
    (Rule.WEIGHTS, has_weights),
    (Rule.CONFIGURED, is_configured),
    (Rule.RETIRED, is_alive),
    (Rule.HEALTH, is_healthy),
    (Rule.DRAINING, is_in_service),
    (Rule.ROOM, has_room),
)
