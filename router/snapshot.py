"""What is known of the backends at one moment: frozen, so that a decision can be repeated and explained. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from router.demand import Demand, Modality, Tier
from router.sizes import Size, nearest


class State(StrEnum):
    """Whether a backend takes work; a LOADABLE one does, after its model was loaded."""

    READY = "ready"
    LOADABLE = "loadable"
    UNAVAILABLE = "unavailable"
    DRAINING = "draining"
    NEEDS_WEIGHTS = "needs-weights"
    NOT_CONFIGURED = "not-configured"
    RETIRED = "retired"


TAKES_WORK = frozenset({State.READY, State.LOADABLE})
LOADABLE = State.LOADABLE  # looking a member of an enum up costs more than the rest of `seconds`


@dataclass(frozen=True, slots=True)
class BackendView:
    """One backend at one moment.

    `in_flight` of `concurrency` requests run and `waiting` of `queue` wait; `call_seconds` is what one request took
    lately. `pace` is in seconds per step and image, `quality` in [0, 1], `price` in US dollars per image. `remedy` says
    how missing weights are filled. `load_seconds` is what loading the model took the last time. `checked_at` is in seconds since the epoch, 0 before the first probe.
    """

    name: str
    model: str
    modality: Modality
    state: State
    steps_by_tier: Mapping[Tier, int]
    guidance_scale: float
    max_steps: int
    max_images: int
    concurrency: int
    queue: int
    pace: float
    quality: float
    price: float
    sizes: tuple[Size, ...]
    load_seconds: float = 0.0
    negative_prompts: bool = True
    by_name: bool = False
    in_flight: int = 0
    waiting: int = 0
    call_seconds: float = 0.0
    remedy: str = ""
    checked_at: float = 0.0

    def steps(self, demand: Demand) -> int:
        """Return the denoising steps the demand takes here: its own, or this backend's for its tier."""
        return self.steps_by_tier[demand.tier] if demand.steps is None else demand.steps

    def guidance(self, demand: Demand) -> float:
        """Return the guidance scale the demand takes here: its own, or this backend's default."""
        return self.guidance_scale if demand.guidance_scale is None else demand.guidance_scale

    def size(self, demand: Demand) -> Size:
        """Return the size of the pictures that are drawn here for the demand."""
        return nearest(self.sizes, demand.size)

    def wait(self) -> float:
        """Return the expected seconds until a request that comes now would start."""
        if self.in_flight < self.concurrency:
            return 0.0
        return self.call_seconds * (self.waiting + 1) / self.concurrency

    def seconds(self, demand: Demand) -> float:
        """Return the expected seconds until the demand is served here, its wait and a load included."""
        cold = self.load_seconds if self.state is LOADABLE else 0.0
        return self.wait() + cold + self.pace * self.steps(demand) * demand.images

    def usd(self, demand: Demand) -> float:
        """Return what the demand is expected to cost here, in US dollars."""
        return self.price * demand.images


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every backend at one moment, by name."""

    backends: tuple[BackendView, ...]

    def models(self) -> list[str]:
        """Return the names of all models, sorted."""
        return sorted({backend.model for backend in self.backends})
