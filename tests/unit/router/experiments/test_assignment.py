"""Shares come out, units keep their arms, and experiments know nothing of each other."""

import math
from collections import Counter
from dataclasses import astuple

import pytest

from router.experiments.assignment import assign, is_copied, unit_key
from router.experiments.experiment import Arm, Unit

UNITS = [f"user-{index}" for index in range(10_000)]


def arms(*shares: float) -> tuple[Arm, ...]:
    return tuple(Arm("abcd"[index], f"model-{index}", share) for index, share in enumerate(shares))


def bound(share: float) -> float:
    """Four standard deviations of a binomial count."""
    return 4 * math.sqrt(len(UNITS) * share * (1 - share))


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.9, 0.1), (0.2, 0.3, 0.1, 0.4), (0.01, 0.99)])
def test_the_shares_come_out(shares):
    split = arms(*shares)
    counts = Counter(assign("one", unit, split).name for unit in UNITS)
    for name, _, share, *_ in map(astuple, split):
        assert counts[name] == pytest.approx(len(UNITS) * share, abs=bound(share))


def test_a_unit_keeps_its_arm_wherever_and_in_whatever_order_it_is_asked():
    three = arms(0.3, 0.3, 0.4)
    there = [assign("one", unit, three).name for unit in UNITS[:200]]
    assert [assign("one", unit, three[::-1]).name for unit in UNITS[:200]] == there
    # what a hash gave once it gives for ever; a router of tomorrow must not split differently
    assert "".join(there[:20]) == "ccabcacabbabbabbacbb"


def test_two_experiments_are_independent():
    halves = arms(0.5, 0.5)
    both = sum(
        assign("one", unit, halves).name == "a" and assign("two", unit, halves).name == "a" for unit in UNITS
    )
    assert both == pytest.approx(len(UNITS) / 4, abs=bound(0.25))


def test_with_two_arms_only_the_difference_moves():
    before, after = arms(0.5, 0.5), arms(0.4, 0.6)
    moves = Counter((assign("one", unit, before).name, assign("one", unit, after).name) for unit in UNITS)
    assert moves["b", "a"] == 0  # nobody leaves an arm that grew
    assert moves["a", "b"] == pytest.approx(1000, abs=bound(0.1))


def test_with_three_arms_nobody_leaves_the_one_that_grew_and_few_move():
    before, after = arms(0.5, 0.3, 0.2), arms(0.4, 0.3, 0.3)
    moves = Counter((assign("one", unit, before).name, assign("one", unit, after).name) for unit in UNITS)
    assert moves["c", "a"] == moves["c", "b"] == moves["b", "a"] == 0
    moved = sum(count for (was, now), count in moves.items() if was != now)
    # 10 % must move; intervals of cumulated shares would move 20 %, this moves 12.7 % (the probability Jaccard index)
    assert moved == pytest.approx(1273, abs=bound(0.127))


def test_shadows_and_arms_without_a_share_get_no_traffic():
    three = (Arm("a", "m", 1.0), Arm("b", "n", 1.0, shadow=True), Arm("c", "o", 0.0))
    assert {assign("one", unit, three).name for unit in UNITS[:100]} == {"a"}


def test_a_share_of_the_requests_is_copied():
    copied = sum(is_copied("one", unit, Arm("b", "n", 0.2, shadow=True)) for unit in UNITS)
    assert copied == pytest.approx(2000, abs=bound(0.2))
    assert not any(is_copied("one", unit, Arm("b", "n", 0.0, shadow=True)) for unit in UNITS)
    assert all(is_copied("one", unit, Arm("b", "n", 1.0, shadow=True)) for unit in UNITS)


def test_who_a_request_counts_as():
    def key(unit, tenant="t", user="u", request="r"):
        return unit_key(unit, tenant, user, request)

    assert key(Unit.TENANT) == key(Unit.TENANT, user="v", request="s") != key(Unit.TENANT, tenant="w")
    assert key(Unit.USER) == key(Unit.USER, request="s") != key(Unit.USER, user="v")
    assert key(Unit.USER) != key(Unit.USER, tenant="w")  # two tenants may call their users alike
    assert key(Unit.USER, user="") == key(Unit.TENANT)
    assert key(Unit.REQUEST) != key(Unit.REQUEST, request="s")


def test_shadows_of_one_share_get_copies_of_the_same_requests():
    first, second = (Arm(name, "m", 0.3, shadow=True) for name in "bc")
    for request in UNITS[:200]:
        assert is_copied("one", request, first) == is_copied("one", request, second)
