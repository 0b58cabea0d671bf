"""Bayesian linear regression for runs whose errors grow with their size, one run at a time. Pure.

A run's seconds are y = x·θ + ε, ε normal with deviation σ·x·θ. Divided by what was expected of it, a run is one
equation x̃·θ = ỹ with errors of about σ, whatever its size. With a normal prior on θ the posterior's precision is
Λ = Λ₀ + Σ x̃ x̃ᵀ and its mean Λ⁻¹(Λ₀ θ₀ + Σ x̃ ỹ) (Bishop, Pattern Recognition and Machine Learning, 2006, section 3.3).
"""

from collections.abc import Sequence
from typing import NamedTuple

N = 4

Vector = tuple[float, float, float, float]
Matrix = tuple[Vector, Vector, Vector, Vector]

NOTHING: Vector = (0.0, 0.0, 0.0, 0.0)


class Evidence(NamedTuple):
    """What runs said: Σ x̃ x̃ᵀ, Σ x̃ ỹ, how many they were and the sum of their squared errors, old ones faded."""

    information: Matrix = (NOTHING, NOTHING, NOTHING, NOTHING)
    projection: Vector = NOTHING
    runs: float = 0.0
    squares: float = 0.0

    def faded(self, share: float) -> "Evidence":
        """Return this evidence with each run counting `share` of what it did."""
        a, b, c, d = self.information
        information = _scaled(a, share), _scaled(b, share), _scaled(c, share), _scaled(d, share)
        return Evidence(information, _scaled(self.projection, share), self.runs * share, self.squares * share)

    def plus(self, x: Vector, y: float, weight: float, square: float) -> "Evidence":
        """Return this evidence and a run's: its equation, what that weighs, and its squared error."""
        a, b, c, d = self.information
        information = (
            _added(a, x, weight * x[0]),
            _added(b, x, weight * x[1]),
            _added(c, x, weight * x[2]),
            _added(d, x, weight * x[3]),
        )
        projection = _added(self.projection, x, weight * y)
        return Evidence(information, projection, self.runs + 1.0, self.squares + square)

    def in_units(self, ratio: float) -> "Evidence":
        """Return this evidence for an x that is counted in units `ratio` times as large."""
        a, b, c, d = self.information
        square = ratio * ratio
        information = _scaled(a, square), _scaled(b, square), _scaled(c, square), _scaled(d, square)
        return Evidence(information, _scaled(self.projection, ratio), self.runs, self.squares)


def solve(evidence: Evidence, precision: float, expected: Vector) -> tuple[Vector, Matrix]:
    """Return the mean, no part of it negative, and Λ⁻¹ of the posterior after evidence.

    The prior is `expected`, with the same `precision` in every part.
    """
    total = [
        [part + (precision if i == j else 0.0) for j, part in enumerate(row)]
        for i, row in enumerate(evidence.information)
    ]
    covariance = inverse(total)
    said = [seen + precision * before for seen, before in zip(evidence.projection, expected, strict=True)]
    mean = [sum(part * one for part, one in zip(row, said, strict=True)) for row in covariance]
    _keep_positive(mean, covariance)
    a, b, c, d = (_vector(row) for row in covariance)
    return _vector(mean), (a, b, c, d)


def inverse(matrix: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return the inverse of a symmetric positive definite matrix (Gauss and Jordan; such a one needs no pivots)."""
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


def _keep_positive(mean: list[float], covariance: list[list[float]]) -> None:
    """Take each negative part as 0, and move the others as their covariance with it says."""
    for _ in range(N):
        least = min(range(N), key=mean.__getitem__)
        if mean[least] >= 0.0:
            return
        share = mean[least] / covariance[least][least]
        for i in range(N):
            mean[i] -= covariance[i][least] * share
        mean[least] = 0.0
    mean[:] = [max(0.0, part) for part in mean]


def _scaled(row: Vector, by: float) -> Vector:
    return row[0] * by, row[1] * by, row[2] * by, row[3] * by


def _added(row: Vector, x: Vector, times: float) -> Vector:
    return row[0] + times * x[0], row[1] + times * x[1], row[2] + times * x[2], row[3] + times * x[3]


def _vector(row: Sequence[float]) -> Vector:
    a, b, c, d = row
    return a, b, c, d
