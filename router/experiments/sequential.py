"""Is one arm better than another, asked again and again while the data come in. Pure.

A usual p-value is right for one look at the end. Looked at after every request it calls a winner between two equal
arms sooner or later. The mixture sequential probability ratio test stays right however often one looks and whenever one
stops: Robbins, *Statistical methods related to the law of the iterated logarithm*, 1970; Johari, Koomen, Pekelis and
Walsh, *Peeking at A/B tests*, KDD 2017. The likelihood of the difference is averaged over effects drawn from
N(0, tau²); under the null its ratio to the null's is a martingale that starts at 1, so it ever reaches 1 / alpha with
probability alpha at most (Ville). With d the difference of the means and v its variance:

    ratio = sqrt(v / (v + tau²)) exp(d² tau² / (2 v (v + tau²)))

The variances are those of the data, which is right for many units, not for few: nothing is said below `MINIMUM_UNITS`.
"""

import math
from typing import NamedTuple

ALPHA = 0.05
# Of each arm. With continuous peeking at two equal arms from there on to 2,000 units each, winners were called at
# alpha 0.05 in 3.5 % of 2,000 seeded experiments
# on normal, 3.4 % on exponential, 3.7 % on beta-distributed and 2.4 % on lognormal values; from 2 units on, in 14 % on coins.
MINIMUM_UNITS = 50
# The effect that is found soonest, in standard deviations of a unit: between Cohen's small (0.2) and medium (0.5).
TYPICAL_EFFECT = 0.3


class Sums(NamedTuple):
    """What was measured in an arm, by unit: a unit i with n_i values that sum to s_i.

    How many units there are, and the sums over them of n_i, s_i, n_i², n_i s_i and s_i².
    """

    units: int
    values: float
    total: float
    values_squared: float
    cross: float
    total_squared: float

    @classmethod
    def of_values(cls, count: int, total: float, squares: float) -> "Sums":
        """Return the sums where every value is a unit of its own; `squares` is the sum of their squares."""
        return cls(count, count, total, count, total, squares)


class Estimate(NamedTuple):
    """The mean of an arm's values, and how sure it is: the variance of that mean, from so many independent units."""

    units: int
    mean: float
    variance: float

    @property
    def spread(self) -> float:
        """The variance of one unit."""
        return self.variance * self.units


def estimate(sums: Sums) -> Estimate | None:
    """Return the mean of the values; None where there are none.

    The values of one unit resemble each other, so the units are what counts: the variance is that of a ratio of sums
    over independent units (delta method; Deng, Knoblich and Lu, *Applying the delta method in metric analytics*,
    KDD 2018). With one value a unit it is the usual variance of a mean.
    """
    units, values, total, values_squared, cross, total_squared = sums
    if not values:
        return None
    mean = total / values
    if units < 2:
        return Estimate(units, mean, math.inf)
    residuals = max(0.0, total_squared - 2 * mean * cross + mean * mean * values_squared)
    return Estimate(units, mean, residuals * units / (units - 1) / values**2)


def p_value(control: Estimate, arm: Estimate) -> float:
    """Return the p-value, in [0, 1], of the two means being equal. Its running minimum is valid at every moment."""
    difference, variance = arm.mean - control.mean, control.variance + arm.variance
    return _p(_log_ratio(difference, variance, _typical(control, arm)))


def p_value_beyond(control: Estimate, arm: Estimate, margin: float) -> float:
    """Return the p-value, in [0, 1], of the arm's mean being above the control's by `margin` at most.

    Effects are drawn from the positive half of N(0, tau²): the ratio is that of the two-sided test times
    2 Phi(d tau / sqrt(v (v + tau²))).
    """
    difference, variance = arm.mean - control.mean - margin, control.variance + arm.variance
    tau = _typical(control, arm)
    if difference <= 0 or not 0 < variance < math.inf:
        return 0.0 if difference > 0 and variance == 0 else 1.0
    reach = difference * tau / math.sqrt(variance * (variance + tau * tau))
    half = math.log(2) + math.log(0.5 * (1 + math.erf(reach / math.sqrt(2))))
    return _p(_log_ratio(difference, variance, tau) + half)


def enough(control: Estimate, arm: Estimate) -> bool:
    """Return whether both arms have units enough for anything to be said."""
    return min(control.units, arm.units) >= MINIMUM_UNITS


def _typical(control: Estimate, arm: Estimate) -> float:
    return TYPICAL_EFFECT * math.sqrt((control.spread + arm.spread) / 2)


def _log_ratio(difference: float, variance: float, tau: float) -> float:
    if not 0 < variance < math.inf:  # values without any spread: what differs, differs
        return math.inf if difference and variance == 0 else 0.0
    together = variance + tau * tau
    return 0.5 * math.log(variance / together) + (difference * tau) ** 2 / (2 * variance * together)


def _p(log_ratio: float) -> float:
    return math.exp(-log_ratio) if log_ratio > 0 else 1.0
