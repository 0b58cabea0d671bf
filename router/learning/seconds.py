"""How long a backend takes for an amount of work, learned online and with what is left unknown about it. Pure.

A run is expected to take

    seconds = fixed + per_stroke · strokes + per_megapixel · megapixels + per_neighbour · strokes · beside

with `megapixels` those of all its pictures and frames, `strokes` that times its denoising steps, and `beside` the runs
that it shares the backend with. The four figures are learned by the Bayesian regression of `router.learning.regression`:

- The prior's shape is the entry's; its size is that of the first runs. What was measured on one machine is right on
  another but for a factor.
- Old runs fade, but the prior does not (stabilised forgetting; Kulhavy and Zarrop, 1993): what has not been seen for
  long is unknown again, and no more than that.
- A run far off counts as one at `OUTLIER` deviations (Huber, 1964).
- Runs that are all off in one direction mean that the backend has changed its pace (`router.learning.drift`): all four
  figures are scaled at once.
"""

import math
from typing import NamedTuple

from router.learning.drift import Drift
from router.learning.regression import Evidence, Matrix, Vector, solve
from router.runs import Work

FADING = 0.995  # weight that a run keeps with each one after it: some 200 runs are remembered
NOISE = 0.3  # relative deviation of a run before any was seen
NOISE_RUNS = 4.0  # how many runs that first guess is worth
FIRST = 20  # runs that say how large the prior should have been
OUTLIER = 3.0  # in deviations
REMEMBERED = 0.3  # what earlier runs still count after a change: its parts may have changed too
LEAST = 1e-3  # seconds; nothing is expected to take less

# How far the four figures may be from the prior, as parts of what a typical run takes.
SPREAD: Vector = (0.3, 1.0, 0.3, 0.3)
EXPECTED: Vector = (0.0, 1.0, 0.0, 0.0)  # the prior in these units: all of a run is its denoising


class Forecast(NamedTuple):
    """What is known of a backend's pace: the four figures, all 0 or more, their covariance, and the relative noise."""

    fixed: float
    per_stroke: float
    per_megapixel: float
    per_neighbour: float
    covariance: Matrix
    noise: float

    def at(self, strokes: float, megapixels: float, beside: float) -> float:
        """Return the expected seconds for an amount of work, above 0."""
        return (
            self.fixed
            + (self.per_stroke + self.per_neighbour * beside) * strokes
            + self.per_megapixel * megapixels
        )

    def doubt(self, strokes: float, megapixels: float, beside: float) -> float:
        """Return the deviation of the expected seconds themselves: what more runs would tell."""
        s, m, n = strokes, megapixels, strokes * beside
        (ff, fs, fm, fn), (_, ss, sm, sn), (_, _, mm, mn), (_, _, _, nn) = self.covariance
        variance = ff + s * s * ss + m * m * mm + n * n * nn
        variance += 2.0 * (s * fs + m * fm + n * fn + s * m * sm + s * n * sn + m * n * mn)
        return math.sqrt(max(0.0, variance))

    def spread(self, strokes: float, megapixels: float, beside: float) -> float:
        """Return the deviation of one run's seconds: the doubt, and how runs of the same work differ."""
        noise = self.noise * self.at(strokes, megapixels, beside)
        return math.hypot(self.doubt(strokes, megapixels, beside), noise)

    def seconds(self, work: Work, beside: int = 0) -> float:
        """Return the expected seconds of a run beside others, above 0."""
        return self.at(*amount(work), beside)

    def deviation(self, work: Work, beside: int = 0) -> float:
        """Return the standard deviation of a run's seconds, above 0."""
        return self.spread(*amount(work), beside)


class Prior(NamedTuple):
    """What is expected before a run was seen: the seconds of a typical one, and its work."""

    seconds: float
    work: Work


class _Known(NamedTuple):
    """What is known of a pace: what the runs said, in units of the prior's spread in seconds, and what follows."""

    units: Vector
    evidence: Evidence
    forecast: Forecast


class Pace:
    """The pace of one backend, learned run by run; the same runs in the same order give the same state."""

    def __init__(self, prior: Prior) -> None:
        seconds = prior.seconds
        strokes, megapixels = amount(prior.work)
        parts = seconds, seconds / strokes, seconds / megapixels, seconds / strokes
        self._runs = 0
        self._known = _know(_product(SPREAD, parts), Evidence())
        self._watches = _Watch(1.0), _Watch(-1.0)

    @property
    def forecast(self) -> Forecast:
        """What is known now."""
        return self._known.forecast

    def observe(self, work: Work, beside: int, seconds: float) -> None:
        """Learn from a run that ended well."""
        run = _Observation(*amount(work), beside, seconds)
        for watch in self._watches:
            if watch.add(run, self._known):
                self._known = watch.believed()
                self._watches = _Watch(1.0), _Watch(-1.0)
                return
        self._runs += 1
        self._known = _learned(run, self._known, self._runs)


class _Observation(NamedTuple):
    strokes: float
    megapixels: float
    beside: float
    seconds: float

    def ratio(self, forecast: Forecast) -> tuple[float, float]:
        """Return the seconds by those that were expected, and the deviation that this was expected to have."""
        work = self[:3]
        expected = forecast.at(*work)
        return self.seconds / expected, forecast.spread(*work) / expected


class _Watch:
    """Looks for runs that are all slower (`sign` 1) or all faster (-1), and keeps what was known before them."""

    def __init__(self, sign: float) -> None:
        self._sign = sign
        self._drift = Drift()
        self._total, self._count = 0.0, 0
        self._before: _Known | None = None

    def add(self, run: _Observation, known: _Known) -> bool:
        """Add a run; return whether the pace has changed."""
        if self._before is None or not self._drift.begun:
            self._before, self._total, self._count = known, 0.0, 0
        ratio, deviation = run.ratio(known.forecast)
        self._total += math.log(run.ratio(self._before.forecast)[0])
        self._count += 1
        return self._drift.add(self._sign * math.log(ratio) / deviation)

    def believed(self) -> _Known:
        """Return what is known after the change: all of a run takes longer or shorter by what the watched runs did."""
        assert self._before is not None, "a change is told of a run that was added"
        units, evidence, _ = self._before
        ratio = math.exp(self._total / self._count)
        return _know(_times(units, ratio), evidence.faded(REMEMBERED))


def _learned(run: _Observation, known: _Known, runs: int) -> _Known:
    """Return what is known after one more run, the `runs`-th, when all others have faded a little."""
    units, evidence, forecast = known
    if runs <= FIRST:
        units, evidence = _fitted(run, known, runs)
    ratio, deviation = run.ratio(forecast)
    expected = run.seconds / ratio
    x = _product(_times(units, 1.0 / expected), (1.0, run.strokes, run.megapixels, run.strokes * run.beside))
    error = abs(ratio - 1.0)
    weight = min(1.0, OUTLIER * deviation / error) if error else 1.0
    noise = (forecast.noise / deviation) ** 2  # the part of the error that no more runs would explain
    return _know(units, evidence.faded(FADING).plus(x, ratio, weight, weight * noise * error * error))


def _fitted(run: _Observation, known: _Known, runs: int) -> tuple[Vector, Evidence]:
    """Return the units in which the prior's size is the (geometric) mean of what the first runs say it is."""
    prior = known.units[1] * EXPECTED[1] * run.strokes
    ratio = (run.seconds / prior) ** (1.0 / runs)
    return _times(known.units, ratio), known.evidence.in_units(ratio)


def _know(units: Vector, evidence: Evidence) -> _Known:
    """Return what the runs and the prior say together."""
    noise = math.sqrt((NOISE_RUNS * NOISE**2 + evidence.squares) / (NOISE_RUNS + evidence.runs))
    mean, covariance = solve(
        evidence, noise * noise, EXPECTED
    )  # the prior's deviation is one SPREAD, a run's the noise
    fixed, per_stroke, per_megapixel, per_neighbour = _product(mean, units)
    a, b, c, d = (
        _product(_times(row, noise * noise * unit), units)
        for row, unit in zip(covariance, units, strict=True)
    )
    forecast = Forecast(
        max(LEAST, fixed), per_stroke, per_megapixel, per_neighbour, covariance=(a, b, c, d), noise=noise
    )
    return _Known(units, evidence, forecast)


def amount(work: Work) -> tuple[float, float]:
    """Return the strokes (steps times megapixels) and the megapixels of all pictures and frames of a work."""
    megapixels = work.megapixels * work.images * work.frames
    return work.steps * megapixels, megapixels


def _product(a: Vector, b: Vector) -> Vector:
    return a[0] * b[0], a[1] * b[1], a[2] * b[2], a[3] * b[3]


def _times(a: Vector, by: float) -> Vector:
    return a[0] * by, a[1] * by, a[2] * by, a[3] * by
