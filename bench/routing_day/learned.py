"""The router itself as a policy of the simulated day: its own filters, scorers, learning and exploring, its clock taken away."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from random import Random

from bench.routing_day.day import Backend, work_of
from bench.routing_day.world import SIZES, Request, Truth
from router.decision import Policy, decide, pick
from router.demand import Modality, Tier
from router.entries import BackendEntry
from router.exploration import Explorer
from router.learning import Learning
from router.runs import OK, Run, Verdict, Work
from router.snapshot import BackendView, Snapshot, State
from services.runtime.admission import SMOOTHING

QUEUE = 1000


def entry_of(truth: Truth) -> BackendEntry:
    """Return what an operator wrote down of a backend: its wrong priors among it."""
    largest = SIZES[-1]
    megapixels = largest.width * largest.height / 1e6
    picture = truth.fixed + megapixels * (truth.per_step * truth.steps + truth.decode)
    most = 100 if truth.steps > 1 else 1
    return BackendEntry.model_validate(
        {
            "name": truth.name,
            "kind": "triton",
            "model": truth.name.rpartition("/")[2],
            "modality": Modality.TEXT_TO_IMAGE,
            "remedy": "nothing to do",
            "defaults": {"steps": truth.steps, "guidance_scale": 7.5},
            "tiers": {Tier.DRAFT: 0.5, Tier.STANDARD: 1, Tier.HIGH: 2},
            "limits": {"steps": most, "images": 16},
            "sizes": [largest, *SIZES[:-1]],
            "concurrency": truth.concurrency,
            "queue": QUEUE,
            "price_usd": truth.price,
            "prior": {
                "quality": truth.prior_quality,
                "seconds_per_step": truth.prior_pace * picture / truth.steps,
            },
        }
    )


class Learned:
    """Decides as the router does; with a seed it explores, without one it always takes what looks best.

    One that does not learn believes its configuration to the end.
    """

    def __init__(
        self, truths: Sequence[Truth], policy: Policy, seed: int | None = None, *, learns: bool = True
    ) -> None:
        self._policy = policy
        self._learns = learns
        self._explorer = None if seed is None else Explorer(policy)
        self._random = Random(seed)
        entries = [entry_of(truth) for truth in truths]
        self.learning = Learning(entries)
        self._views = {entry.name: self._first(entry) for entry in entries}

    def choose(self, request: Request, backends: Mapping[str, Backend]) -> str:
        """Return the router's pick."""
        decision = decide(request.demand, Snapshot(tuple(self._views.values())), self._policy)
        picked = self._explorer.pick(decision, self._random) if self._explorer else None
        candidate = picked[0] if picked else pick(decision)
        assert candidate is not None, "no backend of the day ever refuses"
        return candidate.backend.name

    def changed(self, backend: Backend) -> None:
        """See what runs and waits, as the fleet does."""
        name = backend.truth.name
        running, waiting = len(backend.running), len(backend.waiting)
        self._views[name] = replace(self._views[name], in_flight=running, waiting=waiting)

    def ended(self, run: Run) -> None:
        """Learn from a run's seconds."""
        if self._learns:
            self.learning.observe(run)
        view = self._views[run.backend]
        smoothed = view.call_seconds + SMOOTHING * (run.seconds - view.call_seconds)
        self._views[run.backend] = replace(
            view, call_seconds=smoothed, forecast=self.learning.forecast(run.backend)
        )

    def judged(self, run: Run, verdict: Verdict) -> None:
        """Learn from a picture's score."""
        if not self._learns:
            return
        self.learning.judge(run, verdict)
        view = self._views[run.backend]
        self._views[run.backend] = replace(view, quality=self.learning.quality(run.backend))

    def _first(self, entry: BackendEntry) -> BackendView:
        return BackendView(
            name=entry.name,
            model=entry.model,
            modality=entry.modality,
            state=State.READY,
            steps_by_tier=entry.steps_by_tier(),
            guidance_scale=entry.defaults.guidance_scale,
            max_steps=entry.limits.steps,
            max_images=entry.limits.images,
            concurrency=entry.concurrency,
            queue=entry.queue,
            allowance=entry.concurrency,
            forecast=self.learning.forecast(entry.name),
            quality=self.learning.quality(entry.name),
            price=entry.pricing(),
            sizes=entry.sizes,
            call_seconds=entry.prior.seconds_per_step * entry.defaults.steps,
        )


def prediction_errors(
    truth: Truth, requests: Iterator[Request], moments: Sequence[int], held_out: int
) -> Iterator[tuple[int, float]]:
    """Yield, after each of so many observed runs, the mean relative error of the seconds of runs it never saw.

    The error is against the true mean, so that 0 can be reached: what is luck nobody can foretell.
    """
    learning = Learning([entry_of(truth)])
    random = Random(0)
    unseen = [
        (work_of(truth, request), random.randrange(truth.concurrency))
        for request in islice(requests, held_out)
    ]
    seen = 0
    for moment in moments:
        for request in islice(requests, moment - seen):
            work, beside = work_of(truth, request), random.randrange(truth.concurrency)
            taken = truth.seconds(work, beside, 0.0) * request.seconds_luck
            learning.observe(_observed(truth, work, beside, taken, seen))
        seen = moment
        forecast = learning.forecast(truth.name)
        errors = [
            abs(forecast.seconds(work, beside) / truth.seconds(work, beside, 0.0) - 1)
            for work, beside in unseen
        ]
        yield moment, sum(errors) / len(errors)


def recovery(truth: Truth, requests: Iterator[Request], factor: float, within: float) -> int:
    """Return after how many runs a backend that became `factor` times slower is predicted within `within` of the truth.

    It was observed for 1,000 runs before. Returns 1,000 where that many were not enough.
    """
    learning = Learning([entry_of(truth)])
    random = Random(0)
    for number, request in enumerate(islice(requests, 2000)):
        slow = factor if number >= 1000 else 1.0
        work, beside = work_of(truth, request), random.randrange(truth.concurrency)
        mean = truth.seconds(work, beside, 0.0) * slow
        error = abs(learning.forecast(truth.name).seconds(work, beside) / mean - 1)
        if number > 1000 and error < within:
            return number - 1000
        learning.observe(_observed(truth, work, beside, mean * request.seconds_luck, number))
    return 1000


def _observed(truth: Truth, work: Work, beside: int, seconds: float, number: int) -> Run:
    return Run(
        request_id=f"observed-{number}",
        generation_id="",
        attempt=1,
        tenant="local",
        backend=truth.name,
        model=truth.name.rpartition("/")[2],
        prompt_class="other",
        work=work,
        outcome=OK,
        seconds=seconds,
        waited=0.0,
        loading=0.0,
        beside=beside,
        usd=0.0,
        at=float(number),
    )
