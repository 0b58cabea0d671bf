"""The simulated world: backends as they truly are, which no policy is told, and a day of requests.

Every figure here is invented, so that the day is hard in the ways that real ones are: the priors are wrong, quality
depends on what is drawn, requests come in waves, and at two in the afternoon one of the best becomes three times slower.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from router.demand import Demand, Objective, Tier
from router.prompt_class import PromptClass
from router.runs import Work
from router.sizes import Size

DAY = 86_400.0
SLOWDOWN_AT, SLOWDOWN = 14 * 3600.0, 3.0
SECONDS_NOISE = 0.15  # standard deviation of the logarithm of a run's seconds
QUALITY_NOISE = 0.10  # standard deviation of one picture's score

CLASSES = (PromptClass.PORTRAIT, PromptClass.CITYSCAPE, PromptClass.ABSTRACT, PromptClass.DIAGRAM)
CLASS_SHARES = (0.4, 0.25, 0.2, 0.15)
OBJECTIVES = (Objective.BALANCED, Objective.QUALITY, Objective.LATENCY, Objective.COST)
OBJECTIVE_SHARES = (0.55, 0.2, 0.15, 0.1)
TIERS = (Tier.DRAFT, Tier.STANDARD, Tier.HIGH)
TIER_SHARES = (0.2, 0.65, 0.15)
IMAGES = (1, 2, 4)
IMAGE_SHARES = (0.7, 0.15, 0.15)
SIZES = (Size(512, 512), Size(768, 512), Size(1024, 1024))
SIZE_SHARES = (0.2, 0.2, 0.6)


@dataclass(frozen=True)
class Truth:
    """A backend as it is.

    A run takes `fixed` seconds and, for each image and megapixel, `per_step` seconds a step and `decode` seconds; each
    run beside it adds the share `contention`. `quality` is the mean score by prompt class; `prior_quality` and
    `prior_pace` (a factor on the seconds) are what its configuration wrongly says. `price` is US dollars an image.
    """

    name: str
    steps: int
    fixed: float
    per_step: float
    decode: float
    contention: float
    quality: Mapping[PromptClass, float]
    prior_quality: float
    prior_pace: float
    price: float
    concurrency: int
    slows: bool = False

    def seconds(self, work: Work, beside: int, now: float) -> float:
        """Return the mean seconds of a run that begins `now` with so many others beside it."""
        pixels = work.megapixels * work.images
        alone = self.fixed + pixels * (self.per_step * work.steps + self.decode)
        slow = SLOWDOWN if self.slows and now >= SLOWDOWN_AT else 1.0
        return alone * (1 + self.contention * beside) * slow


def _quality(portrait: float, cityscape: float, abstract: float, diagram: float) -> dict[PromptClass, float]:
    return dict(zip(CLASSES, (portrait, cityscape, abstract, diagram), strict=True))


BACKENDS = (
    Truth("own/small-a", 8, 0.3, 0.10, 0.2, 0.10, _quality(0.45, 0.50, 0.62, 0.30), 0.70, 0.5, 0.0, 4),
    Truth("own/small-b", 8, 0.3, 0.13, 0.2, 0.10, _quality(0.48, 0.46, 0.60, 0.33), 0.55, 2.0, 0.0, 4),
    Truth(
        "own/large-a", 24, 0.5, 0.16, 0.4, 0.15, _quality(0.78, 0.74, 0.70, 0.45), 0.60, 1.5, 0.002, 6, True
    ),
    Truth("own/large-b", 24, 0.5, 0.20, 0.4, 0.15, _quality(0.70, 0.80, 0.72, 0.42), 0.75, 0.8, 0.002, 6),
    Truth("own/turbo", 4, 0.4, 0.35, 0.3, 0.15, _quality(0.60, 0.66, 0.75, 0.35), 0.50, 3.0, 0.001, 4),
    Truth("paid/mini", 1, 4.0, 3.00, 0.0, 0.00, _quality(0.66, 0.62, 0.58, 0.72), 0.60, 1.0, 0.011, 16),
    Truth("paid/large", 1, 9.0, 9.00, 0.0, 0.00, _quality(0.88, 0.86, 0.80, 0.90), 0.80, 1.0, 0.042, 16),
    Truth("paid/old", 1, 6.0, 4.00, 0.0, 0.00, _quality(0.55, 0.57, 0.60, 0.40), 0.85, 1.0, 0.040, 8),
)


@dataclass(frozen=True)
class Request:
    """A request of the day: when it comes, what it demands, and the luck that it will have, whoever serves it."""

    number: int
    at: float
    demand: Demand
    seconds_luck: float = field(repr=False, default=1.0)
    quality_luck: float = field(repr=False, default=0.0)


def requests(count: int, seed: int) -> Iterator[Request]:
    """Yield about `count` requests in the order of their coming; equal seeds give equal days."""
    random = np.random.default_rng(seed)
    now, number = 0.0, 0
    while True:
        now += random.exponential(1 / _rate(now, count))
        if now >= DAY:
            return
        yield Request(
            number,
            now,
            Demand(
                objective=OBJECTIVES[random.choice(len(OBJECTIVES), p=OBJECTIVE_SHARES)],
                tier=TIERS[random.choice(len(TIERS), p=TIER_SHARES)],
                images=IMAGES[random.choice(len(IMAGES), p=IMAGE_SHARES)],
                size=SIZES[random.choice(len(SIZES), p=SIZE_SHARES)],
                prompt_class=CLASSES[random.choice(len(CLASSES), p=CLASS_SHARES)],
            ),
            seconds_luck=float(np.exp(random.normal(0, SECONDS_NOISE) - SECONDS_NOISE**2 / 2)),
            quality_luck=float(random.normal(0, QUALITY_NOISE)),
        )
        number += 1


def _rate(now: float, count: int) -> float:
    """Return requests a second: a quiet night, a peak at three in the afternoon; `count` a day on average."""
    wave = 1 - 0.8 * math.cos(2 * math.pi * (now / DAY - 3 / 24))
    return count / DAY * wave
