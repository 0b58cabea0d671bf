"""Plays a day: requests come, a policy sends each to a backend, backends work and queue, the policy is told what came of it."""

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bench.routing_day.world import Request, Truth
from router.demand import Objective
from router.runs import OK, Run, Verdict, Work

JUDGED_AFTER = 2.0  # seconds from a picture to its score
Utility = Callable[[Objective, float, float, float], float]
"""What a result is worth, in [0, 1]: of its objective, quality, seconds from the asking and US dollars."""


def work_of(truth: Truth, request: Request) -> Work:
    """Return what a request is for a backend; steps follow the tier, as everywhere."""
    share = {"draft": 0.5, "standard": 1.0, "high": 2.0}[request.demand.tier]
    steps = max(1, round(truth.steps * share)) if truth.steps > 1 else 1
    size = request.demand.size
    return Work(steps, size.width * size.height / 1e6, request.demand.images)


@dataclass(frozen=True, slots=True)
class _Started:
    request: Request
    work: Work
    beside: int
    waited: float
    seconds: float
    expected_end: float


@dataclass
class Backend:
    """A backend at work: what runs, what waits."""

    truth: Truth
    running: list[_Started] = field(default_factory=list)
    waiting: deque[tuple[Request, Work]] = field(default_factory=deque)

    def wait(self, now: float) -> float:
        """Return the expected seconds until a request that comes now would start, for who knows everything."""
        if len(self.running) < self.truth.concurrency:
            return 0.0
        free = sorted(max(0.0, started.expected_end - now) for started in self.running)
        beside = self.truth.concurrency - 1
        for _, work in self.waiting:
            heapq.heapreplace(free, free[0] + self.truth.seconds(work, beside, now))
        return free[0]

    def expected(self, request: Request, now: float) -> float:
        """Return the expected seconds from now to the result."""
        beside = min(len(self.running), self.truth.concurrency - 1)
        return self.wait(now) + self.truth.seconds(work_of(self.truth, request), beside, now)


class Policy(Protocol):
    """Who decides."""

    def choose(self, request: Request, backends: Mapping[str, Backend]) -> str:
        """Return the name of the backend that shall serve a request; the clock is the request's."""

    def changed(self, backend: Backend) -> None:
        """Hear that what runs or waits on a backend changed."""

    def ended(self, run: Run) -> None:
        """Hear of a run that ended."""

    def judged(self, run: Run, verdict: Verdict) -> None:
        """Hear how a run's picture was scored."""


@dataclass(slots=True)
class Decided:
    """One decision and what came of it: `regret` is the expected utility given away, `utility` what was had."""

    at: float
    backend: str
    regret: float
    utility: float = 0.0
    seconds: float = 0.0
    quality: float = 0.0
    usd: float = 0.0


@dataclass
class Day:
    """A day that is being played."""

    truths: Sequence[Truth]
    policy: Policy
    utility: Utility
    decided: dict[int, Decided] = field(default_factory=dict)

    def play(self, requests: Iterable[Request]) -> list[Decided]:
        """Play the day to its end, the last queues included; return the decisions in the order of their requests."""
        backends = {truth.name: Backend(truth) for truth in self.truths}
        order = itertools.count()
        events: list[tuple[float, int, Callable[[float], None]]] = []

        def later(at: float, what: Callable[[float], None]) -> None:
            heapq.heappush(events, (at, next(order), what))

        def start(backend: Backend, request: Request, work: Work, now: float) -> None:
            beside = len(backend.running)
            mean = backend.truth.seconds(work, beside, now)
            taken = mean * request.seconds_luck
            started = _Started(request, work, beside, now - request.at, taken, now + mean)
            backend.running.append(started)
            later(now + taken, lambda at: end(backend, started, at))

        def end(backend: Backend, started: _Started, now: float) -> None:
            backend.running.remove(started)
            if backend.waiting:
                start(backend, *backend.waiting.popleft(), now)
            self.policy.changed(backend)
            run, quality = self._came(backend.truth, started, now)
            self.policy.ended(run)
            verdict = Verdict(run.request_id, run.tenant, now + JUDGED_AFTER, quality)
            later(now + JUDGED_AFTER, lambda _: self.policy.judged(run, verdict))

        def come(request: Request) -> None:
            name = self.policy.choose(request, backends)
            backend = backends[name]
            regret = self._regret(request, backend, backends.values())
            self.decided[request.number] = Decided(request.at, name, regret)
            work = work_of(backend.truth, request)
            if len(backend.running) < backend.truth.concurrency:
                start(backend, request, work, request.at)
            else:
                backend.waiting.append((request, work))
            self.policy.changed(backend)

        for request in requests:
            while events and events[0][0] <= request.at:
                at, _, what = heapq.heappop(events)
                what(at)
            come(request)
        while events:
            at, _, what = heapq.heappop(events)
            what(at)
        return list(self.decided.values())

    def worth(self, request: Request, backend: Backend) -> float:
        """Return the expected utility of a backend for a request, for who knows everything."""
        quality = backend.truth.quality[request.demand.prompt_class]
        usd = backend.truth.price * request.demand.images
        return self.utility(request.demand.objective, quality, backend.expected(request, request.at), usd)

    def _regret(self, request: Request, chosen: Backend, backends: Iterable[Backend]) -> float:
        return max(self.worth(request, backend) for backend in backends) - self.worth(request, chosen)

    def _came(self, truth: Truth, started: _Started, now: float) -> tuple[Run, float]:
        request, work = started.request, started.work
        quality = min(1.0, max(0.0, truth.quality[request.demand.prompt_class] + request.quality_luck))
        usd = truth.price * work.images
        decided = self.decided[request.number]
        decided.seconds, decided.quality, decided.usd = now - request.at, quality, usd
        decided.utility = self.utility(request.demand.objective, quality, decided.seconds, usd)
        run = Run(
            request_id=f"request-{request.number}",
            generation_id="",
            attempt=1,
            tenant="local",
            backend=truth.name,
            model=truth.name.rpartition("/")[2],
            prompt_class=request.demand.prompt_class,
            work=work,
            outcome=OK,
            seconds=started.seconds,
            waited=started.waited,
            loading=0.0,
            beside=started.beside,
            usd=usd,
            at=now,
        )
        return run, quality
