"""The test is right however often one looks, and finds what is there."""

import math

import numpy as np
import pytest

from router.experiments.sequential import (
    ALPHA,
    MINIMUM_UNITS,
    Estimate,
    Sums,
    enough,
    estimate,
    p_value,
    p_value_beyond,
)

EXPERIMENTS, UNITS = 150, 500


def sums(values: np.ndarray) -> Sums:
    return Sums.of_values(len(values), float(values.sum()), float((values**2).sum()))


def called(control: np.ndarray, arm: np.ndarray, decide) -> int | None:
    """Look after every unit from the minimum on; return after how many a difference was called."""
    counts = np.arange(1, len(control) + 1)
    running = [np.stack([counts, values.cumsum(), (values**2).cumsum()], 1) for values in (control, arm)]
    for look in range(MINIMUM_UNITS - 1, len(control)):
        one, other = (estimate(Sums.of_values(*(row.item() for row in side[look]))) for side in running)
        if decide(one, other) < ALPHA:
            return look + 1
    return None


def rate(draw, decide, effect: float = 0.0) -> float:
    rng = np.random.default_rng(11)
    found = [called(draw(rng), draw(rng) + effect, decide) for _ in range(EXPERIMENTS)]
    return sum(one is not None for one in found) / EXPERIMENTS


@pytest.mark.parametrize(
    "draw",
    [lambda rng: rng.normal(size=UNITS), lambda rng: rng.exponential(size=UNITS)],
    ids=["normal", "skewed"],
)
def test_two_equal_arms_that_are_looked_at_after_every_unit_rarely_differ(draw):
    assert rate(draw, p_value) <= ALPHA


def test_a_usual_test_would_be_fooled_by_the_same_looks():
    def usual(control: Estimate, arm: Estimate) -> float:
        z = abs(arm.mean - control.mean) / math.sqrt(control.variance + arm.variance)
        return math.erfc(z / math.sqrt(2))

    assert rate(lambda rng: rng.normal(size=UNITS), usual) > 3 * ALPHA


def test_a_real_difference_is_found():
    assert rate(lambda rng: rng.normal(size=UNITS), p_value, effect=0.5) > 0.95


def test_an_arm_just_within_the_margin_is_rarely_called_worse():
    def beyond(control: Estimate, arm: Estimate) -> float:
        return p_value_beyond(control, arm, 0.1)

    def draw(rng):
        return rng.normal(size=UNITS)

    assert rate(draw, beyond, effect=0.1) <= ALPHA
    assert rate(draw, beyond, effect=-1.0) == 0
    assert rate(draw, beyond, effect=0.6) > 0.95


def test_an_estimate_is_the_usual_one_where_every_value_is_a_unit():
    values = np.array([1.0, 4.0, 2.0, 7.0])
    found = estimate(sums(values))
    assert found is not None
    assert found == pytest.approx((4, values.mean(), values.var(ddof=1) / 4))
    assert found.spread == pytest.approx(values.var(ddof=1))


def test_values_of_one_unit_count_little_when_they_say_the_same():
    """Twenty tenants whose requests all came out alike are twenty results, however many requests they sent."""
    tenants = np.random.default_rng(3).normal(size=20)
    alike = Sums(
        20, 2000, 100 * tenants.sum(), 20 * 100**2, 100 * 100 * tenants.sum(), 1e4 * (tenants**2).sum()
    )
    assert estimate(alike) == pytest.approx(estimate(sums(tenants)))


def test_unequal_units_have_the_variance_that_a_simulation_finds():
    rng = np.random.default_rng(4)
    means, variances = [], []
    for _ in range(400):
        sizes = rng.integers(1, 20, 100)
        totals = sizes * rng.normal(size=100) + np.sqrt(sizes) * rng.normal(size=100)
        found = estimate(
            Sums(
                100,
                *(float(part.sum()) for part in (sizes, totals, sizes**2, sizes * totals, totals**2)),
            )
        )
        assert found is not None
        means.append(found.mean)
        variances.append(found.variance)
    assert np.mean(variances) == pytest.approx(np.var(means), rel=0.15)


def test_nothing_is_said_of_too_little():
    assert estimate(Sums(0, 0, 0, 0, 0, 0)) is None
    one = estimate(sums(np.array([3.0])))
    assert one == (1, 3.0, math.inf)
    many = Estimate(MINIMUM_UNITS, 100.0, 0.01)
    assert p_value(one, many) == p_value_beyond(one, many, 0) == 1
    assert not enough(one, many)
    assert enough(many, many)


def test_values_without_any_spread():
    free, dear = Estimate(100, 0.0, 0.0), Estimate(100, 0.2, 0.0)
    assert p_value(free, dear) == 0
    assert p_value(free, free) == 1
    assert p_value_beyond(free, dear, 0.1) == 0
    assert p_value_beyond(free, dear, 0.3) == p_value_beyond(dear, free, 0.1) == 1


def test_a_huge_difference_does_not_overflow():
    assert p_value(Estimate(1000, 0.0, 1e-12), Estimate(1000, 1e6, 1e-12)) == 0
    assert p_value_beyond(Estimate(1000, 0.0, 1e-12), Estimate(1000, 1e6, 1e-12), 1.0) == 0
