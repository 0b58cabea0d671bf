"""How far a backend is trusted: closed while it works, open after it failed, half open while it comes back. Pure.

A backend that went away opens at once, and one that failed a few runs in a row does too. Open, it gets nothing. When its
probes answer again and its pause is over it stands half open: one run is let through, and each that succeeds doubles how
many may run at one time, until it has its whole concurrency back and is closed. A failure on the way opens it again, for
twice as long.
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum, StrEnum


class Stance(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Fault(Enum):
    """What a failed run says of its backend: it is away, or it is there and failed."""

    AWAY = "away"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Rules:
    """When a breaker opens and for how long; all times in seconds.

    `faults` in a row within `window`, which three runs of minutes each fit into, open it; one that succeeds between them
    clears them. A backend that went away has no
    first pause: that it answers its probe again is proof that it is back. One that failed answers its probes all the
    while, so it rests for `pause`. Each time it fails on its way back the pause doubles, from `pause` to `longest_pause`.
    """

    faults: int = 3
    window: float = 600.0
    pause: float = 1.0
    longest_pause: float = 30.0


RULES = Rules()


class Breaker:
    """The trust in one backend that runs `concurrency` requests at one time; `now` is in seconds of any steady clock.

    `spell` counts how often it opened. Whoever starts a run or a probe notes it, and what comes of one that an opening
    overtook counts for nothing: ten runs that one crash ends are one failure.
    """

    def __init__(self, concurrency: int, rules: Rules = RULES) -> None:
        self._concurrency = concurrency
        self._rules = rules
        self._faults: deque[float] = deque(maxlen=rules.faults)
        self._pause = 0.0
        self._until = 0.0
        self.stance = Stance.CLOSED
        self.allowance = concurrency
        self.spell = 0

    def succeed(self, spell: int) -> None:
        """Take in a run that succeeded."""
        if spell != self.spell or self.stance is Stance.OPEN:
            return
        self._faults.clear()
        if self.stance is Stance.HALF_OPEN:
            self.allowance = min(self._concurrency, self.allowance * 2)
            if self.allowance == self._concurrency:
                self.stance = Stance.CLOSED

    def fail(self, fault: Fault, spell: int, now: float) -> bool:
        """Take in a run that failed; return whether that opened it."""
        if spell != self.spell or self.stance is Stance.OPEN:
            return False
        self._faults.append(now)
        often = len(self._faults) == self._rules.faults and now - self._faults[0] <= self._rules.window
        opens = fault is Fault.AWAY or often or self.stance is Stance.HALF_OPEN
        if opens:
            self.open(fault, now)
        return opens

    def open(self, fault: Fault, now: float) -> None:
        """Open: a run failed, or the probes go unanswered. One that is open stays as it is."""
        if self.stance is Stance.OPEN:
            return
        rules = self._rules
        if self.stance is Stance.HALF_OPEN:
            self._pause = min(rules.longest_pause, max(rules.pause, self._pause * 2))
        else:
            self._pause = 0.0 if fault is Fault.AWAY else rules.pause
        self.stance, self.allowance = Stance.OPEN, 0
        self._until = now + self._pause
        self._faults.clear()
        self.spell += 1

    def answer(self, now: float) -> None:
        """Take in a probe that found the backend able to work: it lets one run through when the pause is over."""
        if self.stance is Stance.OPEN and now >= self._until:
            self.stance, self.allowance = Stance.HALF_OPEN, 1
