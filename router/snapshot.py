"""What is known of the backends at one moment: frozen, so that a decision can be repeated and explained. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from router.demand import Demand, Modality, Tier
from router.learning.loading import NEVER, Loading
from router.learning.quality import QualityView
from router.learning.seconds import Forecast
from router.price import Price, Unit
from router.prompt_class import PromptClass
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
IMAGE = Unit.IMAGE
CANVASES = 256  # how many wanted sizes a view remembers


class Estimate(NamedTuple):
    """What a demand is expected to come to: seconds from now, US dollars (infinity where nobody knows), quality in [0, 1]."""

    seconds: float
    usd: float
    quality: float


@dataclass(frozen=True, slots=True)
class BackendView:
    """One backend at one moment.

    `in_flight` of `concurrency` requests run and `waiting` of `queue` wait; `call_seconds` is what one request took
    lately. It is trusted with `allowance` requests at one time: fewer than `concurrency` while it comes back after
    failures. `forecast`, `loading` and `quality` are what was learned of it. A `paid` one costs money, an `external` one
    sees the prompt outside this installation, and what one that is not `commercial` makes may not be sold. `max_prompt`
    is in UTF-16 code units, None where nobody says; `durations` are the lengths of video in seconds that it makes.
    `remedy` says how missing weights, a key or an address are filled. `checked_at` and `retires_at` are in seconds
    since the epoch, 0 before the first probe and where no end is known.
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
    max_prompt: int | None = None
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
    retires_at: float = 0.0
    slots: int = field(init=False, repr=False, compare=False)
    open: bool = field(init=False, repr=False, compare=False)
    beside: int = field(init=False, repr=False, compare=False)
    headroom: float = field(init=False, repr=False, compare=False)
    _base: float = field(init=False, repr=False, compare=False)
    _per_stroke: float = field(init=False, repr=False, compare=False)
    _per_megapixel: float = field(init=False, repr=False, compare=False)
    _means: Mapping[PromptClass, float] = field(init=False, repr=False, compare=False)
    _per_image: float | None = field(init=False, repr=False, compare=False)
    _canvases: dict[Size, tuple[Size, float]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Work out what no demand changes, since every demand asks for it.

        `slots` is how many requests run here at one time now, `open` whether it takes work and has room, `headroom` the
        free part of its slots and queue. A request that comes now would run `beside` so many others.
        """
        slots, forecast = min(self.concurrency, self.allowance), self.forecast
        free = self.in_flight < slots
        beside = min(self.in_flight, max(0, slots - 1))
        setting = object.__setattr__  # the dataclass is frozen for everybody else
        setting(self, "slots", slots)
        setting(self, "open", self.state in TAKES_WORK and (free or self.waiting < self.queue))
        setting(self, "beside", beside)
        setting(self, "headroom", _share_free(self.in_flight + self.waiting, slots + self.queue))
        cold = self.loading.seconds if self.state is LOADABLE else 0.0
        setting(self, "_base", self.wait() + cold + forecast.fixed)
        setting(self, "_per_stroke", forecast.per_stroke + forecast.per_neighbour * beside)
        setting(self, "_per_megapixel", forecast.per_megapixel)
        setting(self, "_means", {one: posterior.mean for one, posterior in self.quality.classes.items()})
        setting(self, "_per_image", _per_image(self.price))
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

    def estimate(self, demand: Demand) -> Estimate:
        """Return what the demand is expected to come to here."""
        size, area = self._canvases.get(demand.size) or self._canvas(demand.size)
        megapixels = area * demand.images * demand.frames
        steps = (demand.steps or self.steps_by_tier[demand.tier]) if self.takes_steps else 1
        seconds = self._base + megapixels * (self._per_stroke * steps + self._per_megapixel)
        if self._per_image is not None:
            usd = self._per_image * demand.images
        else:
            usd = self.price.usd(size, demand.images, demand.tier, self.duration(demand))
        # As Estimate(...), in half the time: this is the inner loop of every decision.
        return tuple.__new__(Estimate, (seconds, usd, self._means[demand.prompt_class]))

    def seconds(self, demand: Demand) -> float:
        """Return the expected seconds until the demand is served here, its wait and a load included."""
        return self.estimate(demand).seconds

    def usd(self, demand: Demand) -> float:
        """Return what the demand is expected to cost here, in US dollars; infinity where nobody knows."""
        return self.estimate(demand).usd

    def expected_quality(self, demand: Demand) -> float:
        """Return how good the result is expected to be, in [0, 1]."""
        return self.estimate(demand).quality

    def deviation(self, demand: Demand) -> float:
        """Return the standard deviation of the seconds that it will take, a load included."""
        spread = self.forecast.spread(*self._amount(demand), self.beside)
        return math.hypot(spread, self.loading.deviation) if self.state is LOADABLE else spread

    def doubt(self, demand: Demand) -> float:
        """Return the deviation of the expected seconds themselves: what more runs would tell."""
        return self.forecast.doubt(*self._amount(demand), self.beside)

    def quality_deviation(self, demand: Demand) -> float:
        """Return the standard deviation of the expected quality."""
        return self.quality.classes[demand.prompt_class].deviation

    def _amount(self, demand: Demand) -> tuple[float, float]:
        """Return the strokes and megapixels of the demand here, as `router.learning.seconds` counts them."""
        megapixels = self._canvas(demand.size)[1] * demand.images * demand.frames
        return self.steps(demand) * megapixels, megapixels

    def _canvas(self, wanted: Size) -> tuple[Size, float]:
        """Return the size that is drawn for a wanted one, and its megapixels; found once, since it takes logarithms."""
        found = self._canvases.get(wanted)
        if found is None:
            if len(self._canvases) == CANVASES:
                self._canvases.clear()
            size = nearest(self.sizes, wanted)
            self._canvases[wanted] = found = size, size.width * size.height / 1e6
        return found


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every backend at one moment, by name."""

    backends: tuple[BackendView, ...]

    def models(self) -> list[str]:
        """Return the names of all models, sorted."""
        return sorted({backend.model for backend in self.backends})


def _share_free(taken: int, places: int) -> float:
    return max(0.0, 1.0 - taken / places) if places else 0.0


def _per_image(price: Price) -> float | None:
    """Return what an image costs where neither size nor tier nor length changes it, None where one does."""
    return price.rate if price.unit is IMAGE and not price.by_size else None
