"""Scores stay in [0, 1] and move the way their names say."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.demand import Demand, Tier
from router.learning.loading import Loading
from router.learning.quality import Quality
from router.prompt_class import PromptClass
from router.scorers import SCORERS, Scales, cost, headroom, latency, quality
from router.snapshot import State
from tests.unit.router.scripted import view

SCALES = Scales(half_score_seconds=10, half_score_usd=0.04)
ONE = Demand(steps=1)


def score(scorer, backend, demand=ONE):
    return scorer(backend, backend.estimate(demand), SCALES)


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
        assert 0 <= scorer(backend, backend.estimate(Demand()), SCALES) <= 1, name


def test_half_a_score_is_at_its_scale_and_less_is_better():
    assert score(latency, view(pace=10)) == 0.5
    assert score(cost, view(price=0.04)) == 0.5
    assert score(latency, view(pace=1)) > score(latency, view(pace=2))
    assert score(cost, view()) == 1
    assert score(quality, view(quality=0.7)) == 0.7


def test_an_unknown_price_scores_nothing():
    assert score(cost, view(price=math.inf)) == 0


def test_quality_is_that_of_the_class_of_the_prompt():
    known = Quality(0.5)
    for _ in range(50):
        known.judge(PromptClass.PORTRAIT, 0.9)
    backend = view(quality=known.view)
    portrait, diagram = Demand(prompt_class=PromptClass.PORTRAIT), Demand(prompt_class=PromptClass.DIAGRAM)
    assert score(quality, backend, portrait) == pytest.approx(0.89, abs=0.02)
    assert score(quality, backend, diagram) < 0.9


def test_headroom_goes_from_idle_to_full():
    assert score(headroom, view()) == 1
    assert score(headroom, view(in_flight=2, waiting=1)) == 0.5
    assert score(headroom, view(in_flight=2, waiting=4)) == 0
    assert score(headroom, view(in_flight=2, waiting=4, allowance=1)) == 0
    assert score(headroom, view(allowance=0, queue=0)) == 0


@pytest.mark.parametrize(
    ("demand", "backend", "seconds"),
    [
        (Demand(), view(), 0.8),
        (Demand(tier=Tier.HIGH, images=3), view(), 4.8),
        (Demand(tier=Tier.HIGH, steps=10), view(), 1.0),
        (Demand(), view(in_flight=1), 0.8),
        (Demand(), view(in_flight=2), 1.3),  # half a call until one of two slots is free
        (Demand(), view(in_flight=2, waiting=3), 2.8),
        (Demand(), view(in_flight=1, waiting=3, allowance=1), 4.8),  # it has one slot while it comes back
        (Demand(steps=40), view(takes_steps=False), 0.1),  # it has one step, whatever was asked for
        (Demand(), view(state=State.LOADABLE, loading=Loading(5.0, 1.0)), 5.8),
    ],
)
def test_the_expected_seconds_count_steps_images_and_the_queue(demand, backend, seconds):
    assert backend.seconds(demand) == pytest.approx(seconds)


def test_each_image_has_its_price():
    assert view(price=0.02).usd(Demand(images=3)) == pytest.approx(0.06)
