"""Budgets: an inner limit never widens an outer one, and nothing is given out when nothing is left."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.runtime import deadline
from services.runtime.errors import MeshError

SECONDS = st.floats(0.5, 1e6)


def test_without_a_limit_a_call_has_its_own_budget():
    assert deadline.remaining() is None
    assert deadline.budget(5) == 5


@given(outer=SECONDS, inner=st.none() | SECONDS, own=SECONDS)
def test_the_least_of_all_limits_holds(outer, inner, own):
    with deadline.until(outer), deadline.until(inner):
        least = min(limit for limit in (outer, inner) if limit is not None)
        assert deadline.budget(own) <= min(own, least)
        assert deadline.budget(own) == pytest.approx(min(own, least - deadline.MARGIN_SECONDS), abs=0.2)
    assert deadline.remaining() is None


@pytest.mark.parametrize("left", [0.0, -1.0, deadline.MARGIN_SECONDS])
def test_nothing_left_is_an_error(left):
    with deadline.until(left), pytest.raises(MeshError):
        deadline.budget(1)
