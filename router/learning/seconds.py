"""How long a backend takes for an amount of work, learned online and with what is left unknown about it. Pure.

A run is expected to take

    seconds = fixed + per_stroke · strokes + per_megapixel · megapixels + per_neighbour · strokes · beside

with `megapixels` those of all its pictures and frames, `strokes` that times its denoising steps, and `beside` the runs
that it shares the backend with. The four figures are learned by Bayesian linear regression (Bishop, Pattern Recognition
and Machine Learning, 2006, section 3.3) with

- errors that grow with the size of the work: every run is divided by what was expected of it, so that a minute's error
  in an hour counts as much as a second's in a minute;
- forgetting: old runs fade, but never below the prior (stabilised forgetting, Kulhavy and Zarrop, 1993), so that what
  has not been seen for long is unknown again instead of ever less known;
- outliers bounded (Huber, 1964): a run far off counts as one at `OUTLIER` deviations;
- a detector of change (Page's cumulative sum, 1954): a backend whose runs are all off in one direction has changed its
  pace, which scales all four figures at once.
"""

import math
from typing import NamedTuple

from router.runs import Work

FADING = 0.995  # weight that a run keeps with each one after it: some 200 runs are remembered
NOISE = 0.3  # relative deviation of a run before any was seen
NOISE_RUNS = 4.0  # how many runs that first guess is worth
OUTLIER = 3.0  # in deviations
SLACK = 0.5  # what the detector forgives a run, in deviations: half of the smallest shift it is to find
ALARM = 8.0  # how much has to add up until the pace is believed to have changed; four runs far off
REMEMBERED = 0.1  # what earlier runs still count after a change
LEAST = 1e-3  # seconds; nothing is expected to take less

# How far the four figures may be from the prior, as parts of what a typical run takes: the prior was measured on some
# machine, and is about the denoiser alone.
SPREAD = (0.3, 1.0, 0.3, 0.3)
EXPECTED = (0.0, 1.0, 0.0, 0.0)  # the prior in these units: all of a run is its denoising
N = len(SPREAD)

Vector = tuple[float, float, float, float]
Matrix = tuple[Vector, Vector, Vector, Vector]


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
    """What is expected before a run was seen: seconds of one step of one picture, its megapixels, a picture's steps."""

    seconds_per_step: float
    megapixels: float
    steps: int


class Pace:
    """The pace of one backend, learned run by run; the same runs in the same order give the same state."""

    def __init__(self, prior: Prior) -> None:
        typical = prior.seconds_per_step * prior.steps
        strokes = prior.megapixels * prior.steps
        parts = (typical, typical / strokes, typical / prior.megapixels, typical / strokes)
        self._units = [part * spread for part, spread in zip(parts, SPREAD, strict=True)]
        self._information = [[0.0] * N for _ in range(N)]  # of the runs alone, in units of one run
        self._evidence = [0.0] * N
        self._runs = 0.0
        self._squares = 0.0
        self._slower = _Drift()
        self._faster = _Drift()
        self.forecast = self._solve()

    def observe(self, work: Work, beside: int, seconds: float) -> None:
        """Learn from a run that ended well."""
        strokes, megapixels = amount(work)
        expected = self.forecast.at(strokes, megapixels, beside)
        deviation = self.forecast.spread(strokes, megapixels, beside) / expected
        self._learn((1.0, strokes, megapixels, strokes * beside), seconds / expected, expected, deviation)
        shift = math.log(seconds / expected)
        for drift, sign in ((self._slower, 1.0), (self._faster, -1.0)):
            if drift.add(sign * shift, deviation):
                self._change(math.exp(sign * drift.mean()))
        self.forecast = self._solve()

    def _learn(self, x: Vector, ratio: float, expected: float, deviation: float) -> None:
        """Add a run whose seconds were `ratio` times the expected ones, after all others have faded a little."""
        error = ratio - 1.0
        weight = min(1.0, OUTLIER * deviation / abs(error)) if error else 1.0
        x = tuple(part * unit / expected for part, unit in zip(x, self._units, strict=True))  # type: ignore[assignment]
        known = (
            self.forecast.noise / deviation
        ) ** 2  # the part of the error that no more runs would explain
        self._runs = FADING * self._runs + 1.0
        self._squares = FADING * self._squares + weight * error * error * known
        for i in range(N):
            self._evidence[i] = FADING * self._evidence[i] + weight * x[i] * ratio
            row = self._information[i]
            for j in range(N):
                row[j] = FADING * row[j] + weight * x[i] * x[j]

    def _change(self, ratio: float) -> None:
        """Believe that all work takes `ratio` times as long now; what was learned of its parts counts for little."""
        self._units = [unit * ratio for unit in self._units]
        self._information = [[REMEMBERED * part for part in row] for row in self._information]
        self._evidence = [REMEMBERED * part for part in self._evidence]
        self._slower, self._faster = _Drift(), _Drift()

    def _solve(self) -> Forecast:
        """Return what the runs and the prior say together."""
        prior = NOISE**2  # a deviation of one `SPREAD`, where a run has one of `NOISE`
        precision = [
            [part + (prior if i == j else 0.0) for j, part in enumerate(row)]
            for i, row in enumerate(self._information)
        ]
        covariance = _inverse(precision)
        evidence = [seen + prior * before for seen, before in zip(self._evidence, EXPECTED, strict=True)]
        figures = [sum(part * seen for part, seen in zip(row, evidence, strict=True)) for row in covariance]
        _keep_positive(figures, covariance)
        noise = math.sqrt((NOISE_RUNS * NOISE**2 + self._squares) / (NOISE_RUNS + self._runs))
        units = self._units
        seconds = [figure * unit for figure, unit in zip(figures, units, strict=True)]
        scaled = tuple(
            tuple(noise * noise * covariance[i][j] * units[i] * units[j] for j in range(N)) for i in range(N)
        )
        return Forecast(max(LEAST, seconds[0]), seconds[1], seconds[2], seconds[3], scaled, noise)  # type: ignore[arg-type]


class _Drift:
    """A one-sided cumulative sum of shifts, and their mean since it last was nothing."""

    def __init__(self) -> None:
        self._sum, self._total, self._count = 0.0, 0.0, 0

    def add(self, shift: float, deviation: float) -> bool:
        """Add a run's shift; return whether they add up to a change."""
        self._sum += min(OUTLIER, shift / deviation) - SLACK
        if self._sum <= 0.0:
            self._sum, self._total, self._count = 0.0, 0.0, 0
            return False
        self._total += shift
        self._count += 1
        return self._sum > ALARM

    def mean(self) -> float:
        """Return the mean shift since the sum last was nothing."""
        return self._total / self._count


def amount(work: Work) -> tuple[float, float]:
    """Return the strokes (steps times megapixels) and the megapixels of all pictures and frames of a work."""
    megapixels = work.megapixels * work.images * work.frames
    return work.steps * megapixels, megapixels


def _keep_positive(figures: list[float], covariance: list[list[float]]) -> None:
    """Take each negative figure as 0 and move the others as their covariance with it says: no work gives time back."""
    for _ in range(N):
        least = min(range(N), key=figures.__getitem__)
        if figures[least] >= 0.0:
            return
        share = figures[least] / covariance[least][least]
        for i in range(N):
            figures[i] -= covariance[i][least] * share
        figures[least] = 0.0
    figures[:] = [max(0.0, figure) for figure in figures]


def _inverse(matrix: list[list[float]]) -> list[list[float]]:
    """Return the inverse of a symmetric positive definite matrix (Gauss and Jordan, no pivots needed)."""
    size = len(matrix)
    rows = [[*row, *(1.0 if i == j else 0.0 for j in range(size))] for i, row in enumerate(matrix)]
    for i in range(size):
        pivot = rows[i][i]
        rows[i] = [part / pivot for part in rows[i]]
        for j in range(size):
            if j != i:
                factor = rows[j][i]
                rows[j] = [a - factor * b for a, b in zip(rows[j], rows[i], strict=True)]
    return [row[size:] for row in rows]
