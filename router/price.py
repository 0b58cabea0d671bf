"""What a backend charges: per picture or per second of video, by size and tier. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, NamedTuple

from router.demand import Tier
from router.sizes import Size


class Unit(StrEnum):
    """What is paid for."""

    IMAGE = "image"
    SECOND = "second"


@dataclass(frozen=True, slots=True)
class Price:
    """A price in US dollars per `unit`: `usd` for all, or where `by_size` holds anything, by size and tier.

    `tokens` is what tells the exact cost afterwards, where the provider counts tokens.
    """

    FREE: ClassVar["Price"]
    UNKNOWN: ClassVar["Price"]

    rate: float = 0.0
    unit: Unit = Unit.IMAGE
    by_size: Mapping[Size, Mapping[Tier, float]] = field(default_factory=dict)
    tokens: "Tokens | None" = None

    def usd(self, size: Size, images: int, tier: Tier, duration: float = 0.0) -> float:
        """Return what `images` pictures of a size, or as many videos of `duration` seconds, cost in US dollars.

        A size that is not in the table costs what the dearest in it does; an unknown price is infinite.
        """
        rate = self.rate
        if self.by_size:
            rates = self.by_size.get(size)
            rate = rates[tier] if rates else max(by_tier[tier] for by_tier in self.by_size.values())
        return rate * images * (duration if self.unit is _SECOND else 1.0)

    @property
    def known(self) -> bool:
        """Whether anybody has said what it costs."""
        return math.isfinite(self.rate)

    @property
    def free(self) -> bool:
        """Whether it costs nothing."""
        return self.rate == 0.0 and not self.by_size

    def range(self) -> tuple[float, float]:
        """Return the least and the most of one unit, in US dollars."""
        rates = [rate for by_tier in self.by_size.values() for rate in by_tier.values()] or [self.rate]
        return min(rates), max(rates)


class Tokens(NamedTuple):
    """US dollars per million tokens: text and pictures that are sent, pictures that are made."""

    text_in: float
    image_in: float
    image_out: float

    def usd(self, text_in: int, image_in: int, image_out: int) -> float:
        """Return what a call cost that used so many tokens."""
        return (text_in * self.text_in + image_in * self.image_in + image_out * self.image_out) / 1e6


_SECOND = Unit.SECOND
Price.FREE = Price()
Price.UNKNOWN = Price(rate=math.inf)
