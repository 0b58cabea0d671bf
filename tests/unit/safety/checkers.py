"""Checkers of pictures that do as they are told."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from services.safety.category import Category, Signal
from services.safety.pictures.checker import Opinion, Pixels, Shown
from services.safety.policybook import PolicyBook
from services.safety.rulebook import load_rules, read

LONG = 60.0
CALM = Opinion()


def plain(red: int, green: int, blue: int, side: int = 64) -> Pixels:
    """A picture of one colour."""
    return np.full((side, side, 3), (red, green, blue), np.uint8)


RED, GREY = plain(220, 20, 20), plain(128, 128, 128)


@cache
def book() -> PolicyBook:
    """The shipped policy."""
    return PolicyBook.parse(read("policy.yaml"), load_rules().disguises)


def shown(picture: Pixels = GREY) -> Shown:
    """A picture judged by the shipped policy."""
    return Shown(picture, "", book())


@dataclass
class Scripted:
    """Answers `opinion`, whatever that is, or raises it; `before` is awaited first."""

    name: str
    opinion: Any = CALM
    before: Callable[[], Awaitable[Any]] | None = None
    seconds: float = LONG
    looked: int = 0
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    async def check(self, shown: Shown) -> Any:
        self.looked += 1
        try:
            if self.before is not None:
                await self.before()
        except asyncio.CancelledError:
            self.stopped.set()
            raise
        if isinstance(self.opinion, BaseException):
            raise self.opinion
        return self.opinion


@dataclass
class SeesRed:
    """Takes red pictures for violence, the more the redder; keeps the mean red of each picture that it was shown."""

    name: str = "red/1"
    seconds: float = LONG
    saw: list[float] = field(default_factory=list)

    async def check(self, shown: Shown) -> Opinion:
        level = float(shown.pixels[..., 0].mean())
        self.saw.append(level)
        if level < 200:
            return CALM
        return Opinion([Signal(Category.VIOLENCE, 5, self.name, f"red {level:.0f}")], level / 255)


async def never() -> None:
    """Wait until cancelled."""
    await asyncio.Event().wait()
