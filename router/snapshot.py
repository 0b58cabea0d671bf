"""What is known of the backends at one moment: frozen, so that a decision can be repeated and explained. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from router.demand import Demand, Modality, Tier
from router.learning.loading import NEVER, Loading
from router.learning.quality import QualityView
from router.learning.seconds import Forecast
from router.price import Price
from router.runs import Work
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
CANVASES = 256  # how many wanted sizes a view remembers


@dataclass(frozen=True, slots=True)
class BackendView:
    """One backend at one moment.

    `in_flight` of `concurrency` requests run and `waiting` of `queue` wait; `call_seconds` is what one request took
    lately. It is trusted with `allowance` requests at one time: fewer than `concurrency` while it comes back after
    failures. `forecast`, `loading` and `quality` are what was learned of it. A `paid` one costs money, an `external` one
    sees the prompt outside this installation, and what one that is not `commercial` makes may not be sold. `durations`
    are the lengths of video in seconds that it makes. `remedy` says how missing weights, a key or an address are filled.
    `checked_at` is in seconds since the epoch, 0 before the first probe.
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
    allowance: int
    forecast: Forecast
    quality: QualityView
    price: Price
    sizes: tuple[Size, ...]
    durations: tuple[float, ...] = ()
    loading: Loading = NEVER
    takes_steps: bool = True
    takes_seeds: bool = True
    negative_prompts: bool = True
    edits: bool = False
    by_name: bool = False
    paid: bool = False
    external: bool = False
    commercial: bool = True
    in_flight: int = 0
    waiting: int = 0
    call_seconds: float = 0.0
    remedy: str = ""
    checked_at: float = 0.0
    slots: int = field(init=False, repr=False, compare=False)
    open: bool = field(init=False, repr=False, compare=False)
    before: float = field(init=False, repr=False, compare=False)
    _canvases: dict[Size, tuple[Size, float]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Work out what no demand changes, since every demand asks for it.

        `slots` is how many requests run here at one time now, `open` whether it takes work and has room, `before` the
        seconds until a request that comes now would begin, its wait and a load included.
        """
        slots = min(self.concurrency, self.allowance)
        free = self.in_flight < slots
        wait = 0.0 if free else self.call_seconds * (self.waiting + 1) / max(1, slots)
        setting = object.__setattr__
        setting(self, "slots", slots)
        setting(self, "open", self.state in TAKES_WORK and (free or self.waiting < self.queue))
        setting(self, "before", wait + (self.loading.seconds if self.state is LOADABLE else 0.0))
        setting(self, "_canvases", {})

    def steps(self, demand: Demand) -> int:
        """Return the denoising steps the demand takes here: its own, or this backend's for its tier; 1 without steps."""
        if not self.takes_steps:
            return 1
        return self.steps_by_tier[demand.tier] if demand.steps is None else demand.steps

    def guidance(self, demand: Demand) -> float:
        """Return the guidance scale the demand takes here: its own, or this backend's default."""
        return self.guidance_scale if demand.guidance_scale is None else demand.guidance_scale

    def size(self, demand: Demand) -> Size:
        """Return the size of the pictures that are drawn here for the demand."""
        return self._canvas(demand.size)[0]

    def duration(self, demand: Demand) -> float:
        """Return the seconds of video that are made here for the demand: the nearest it makes, the longer of two; 0 for stills."""
        wanted = demand.duration
        if not self.durations:
            return wanted
        return min(self.durations, key=lambda one: (abs(one - wanted), -one))

    def work(self, demand: Demand) -> Work:
        """Return how much the demand has to do here."""
        return Work(
            self.steps(demand),
            self._canvas(demand.size)[1],
            demand.images,
            demand.frames,
        )

    def wait(self) -> float:
        """Return the expected seconds until a request that comes now would start."""
        if self.in_flight < self.slots:
            return 0.0
        return self.call_seconds * (self.waiting + 1) / max(1, self.slots)

    def seconds(self, demand: Demand) -> float:
        """Return the expected seconds until the demand is served here, its wait and a load included."""
        megapixels = self._canvas(demand.size)[1] * demand.images * demand.frames
        return self.before + self.forecast.at(self.steps(demand) * megapixels, megapixels, self._beside())

    def deviation(self, demand: Demand) -> float:
        """Return the standard deviation of the expected seconds."""
        megapixels = self._canvas(demand.size)[1] * demand.images * demand.frames
        spread = self.forecast.spread(self.steps(demand) * megapixels, megapixels, self._beside())
        return math.hypot(spread, self.loading.deviation) if self.state is LOADABLE else spread

    def expected_quality(self, demand: Demand) -> float:
        """Return how good the result is expected to be, in [0, 1]."""
        return self.quality.classes[demand.prompt_class].mean

    def quality_deviation(self, demand: Demand) -> float:
        """Return the standard deviation of the expected quality."""
        return self.quality.classes[demand.prompt_class].deviation

    def usd(self, demand: Demand) -> float:
        """Return what the demand is expected to cost here, in US dollars; infinity where nobody knows."""
        return self.price.usd(self.size(demand), demand.images, demand.tier, self.duration(demand))

    def _beside(self) -> int:
        """Return how many others a request that comes now will share the backend with."""
        return min(self.in_flight, max(0, self.slots - 1))

    def _canvas(self, wanted: Size) -> tuple[Size, float]:
        """Return the size that is drawn for a wanted one, and its megapixels; found once, since it takes logarithms."""
        if wanted not in self._canvases:
            if len(self._canvases) == CANVASES:
                self._canvases.clear()
            size = nearest(self.sizes, wanted)
            self._canvases[wanted] = size, size.width * size.height / 1e6
        return self._canvases[wanted]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every backend at one moment, by name."""

    backends: tuple[BackendView, ...]

    def models(self) -> list[str]:
        """Return the names of all models, sorted."""
        return sorted({backend.model for backend in self.backends})
