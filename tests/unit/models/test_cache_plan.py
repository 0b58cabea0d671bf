"""What leaves memory for a model to fit: tables, and what holds of every plan."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.models.cache.plan import Busy, Fits, Holding, Plan, TooLarge, plan


def held(name: str, size: int, used_at: float, **what: bool) -> Holding:
    return Holding(name, size, used_at, **what)


OLD, NEW = held("old", 30, 1.0), held("new", 30, 2.0)
PINNED = held("pinned", 40, 0.0, pinned=True)
IN_USE = held("in_use", 30, 0.5, busy=True)


@pytest.mark.parametrize(
    ("size", "holdings", "answer"),
    [
        (100, [], Fits()),
        (101, [], TooLarge(100)),
        (40, [OLD, NEW], Fits()),
        (41, [OLD, NEW], Fits(("old",))),
        (60, [NEW, PINNED, OLD], Fits(("old", "new"))),
        (61, [PINNED, OLD, NEW], TooLarge(60)),
        (40, [IN_USE, NEW, OLD], Fits(("old",))),
        (80, [IN_USE, OLD], Busy(("in_use",))),
        (60, [PINNED, IN_USE, OLD], Busy(("in_use",))),
        # The least recently used one is too small to help and a larger one has to go anyway: it is spared.
        (55, [held("small", 5, 0.0), held("large", 50, 1.0)], Fits(("large",))),
        (0, [PINNED, held("grown", 70, 3.0)], Fits(("grown",))),
    ],
)
def test_plans(size: int, holdings: list[Holding], answer: Plan) -> None:
    assert plan(size, holdings, 100) == answer


HOLDINGS = st.lists(
    st.builds(
        Holding,
        st.uuids().map(str),
        st.integers(1, 50),
        st.floats(0, 100),
        st.booleans(),
        st.booleans(),
    ),
    max_size=8,
)


@given(size=st.integers(0, 120), holdings=HOLDINGS, budget=st.integers(0, 150))
def test_every_plan_keeps_the_budget_and_spares_who_is_to_be_spared(
    size: int, holdings: list[Holding], budget: int
) -> None:
    by_name = {holding.name: holding for holding in holdings}
    total = sum(holding.size for holding in holdings)
    answer = plan(size, holdings, budget)
    match answer:
        case Fits(evict):
            gone = [by_name[name] for name in evict]
            assert not any(holding.pinned or holding.busy for holding in gone)
            left = total - sum(holding.size for holding in gone)
            assert left + size <= budget
            assert all(left + size + holding.size > budget for holding in gone), "none goes in vain"
        case Busy(waits_for):
            assert waits_for
            assert all(by_name[name].busy and not by_name[name].pinned for name in waits_for)
            kept = sum(holding.size for holding in holdings if holding.pinned or holding.busy)
            assert kept + size > budget, "the idle ones alone would not have done"
        case TooLarge(room):
            pinned = sum(holding.size for holding in holdings if holding.pinned)
            assert room == max(0, budget - pinned)
            assert pinned + size > budget
