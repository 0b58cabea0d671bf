"""Scores stay in [0, 1] and move the way their names say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.demand import Demand, Tier
from router.scorers import SCORERS, Scales, cost, headroom, latency, quality
from tests.unit.router.scripted import view

SCALES = Scales(half_score_seconds=10, half_score_usd=0.04)
ONE = Demand(steps=1)


@given(
    pace=st.floats(1e-3, 1e6),
    price=st.floats(0, 1e3),
    worth=st.floats(0, 1),
    in_flight=st.integers(0, 2),
    waiting=st.integers(0, 4),
)
def test_every_score_is_in_the_unit_interval(pace, price, worth, in_flight, waiting):
    backend = view(pace=pace, price=price, quality=worth, in_flight=in_flight, waiting=waiting)
    for name, scorer in SCORERS.items():
        assert 0 <= scorer(Demand(), backend, SCALES) <= 1, name


def test_half_a_score_is_at_its_scale_and_less_is_better():
    assert latency(ONE, view(pace=10), SCALES) == 0.5
    assert cost(ONE, view(price=0.04), SCALES) == 0.5
    assert latency(ONE, view(pace=1), SCALES) > latency(ONE, view(pace=2), SCALES)
    assert cost(ONE, view(), SCALES) == 1
    assert quality(ONE, view(quality=0.7), SCALES) == 0.7


def test_headroom_goes_from_idle_to_full():
    assert headroom(ONE, view(), SCALES) == 1
    assert headroom(ONE, view(in_flight=2, waiting=1), SCALES) == 0.5
    assert headroom(ONE, view(in_flight=2, waiting=4), SCALES) == 0


@pytest.mark.parametrize(
    ("demand", "backend", "seconds"),
    [
        (Demand(), view(), 0.8),
        (Demand(tier=Tier.HIGH, images=3), view(), 4.8),
        (Demand(tier=Tier.HIGH, steps=10), view(), 1.0),
        (Demand(), view(in_flight=1), 0.8),
        (Demand(), view(in_flight=2), 1.3),  # half a call until one of two slots is free
        (Demand(), view(in_flight=2, waiting=3), 2.8),
    ],
)
def test_the_expected_seconds_count_steps_images_and_the_queue(demand, backend, seconds):
    assert backend.seconds(demand) == pytest.approx(seconds)


def test_each_image_has_its_price():
    assert view(price=0.02).usd(Demand(images=3)) == pytest.approx(0.06)
