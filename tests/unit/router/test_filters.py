"""Each filter refuses what it is for, in words that tell what stands in the way."""

import pytest

from router.demand import Demand, Modality
from router.filters import FILTERS, Rule
from router.snapshot import State
from tests.unit.router.scripted import view

PLAIN = Demand()
REFUSED = [
    (Rule.MODALITY, Demand(modality=Modality.VIDEO), view(), "makes text-to-image, not video"),
    (Rule.MODEL, Demand(model="beta"), view(), "serves alpha, not beta"),
    (Rule.MODEL, PLAIN, view(by_name=True), "draws only for those who name it"),
    (Rule.STEPS, Demand(steps=101), view(), "takes at most 100 steps, not 101"),
    (Rule.IMAGES, Demand(images=5), view(max_images=4), "draws at most 4 images, not 5"),
    (Rule.TRIED, Demand(tried=frozenset({"triton/alpha"})), view(), "failed this request already"),
    (Rule.WEIGHTS, PLAIN, view(state=State.NEEDS_WEIGHTS), "needs weights: run `vmesh models build`"),
    (
        Rule.CONFIGURED,
        PLAIN,
        view(state=State.NOT_CONFIGURED, remedy="set A_KEY"),
        "is not configured: set A_KEY",
    ),
    (Rule.RETIRED, PLAIN, view(state=State.RETIRED), "was shut down by its provider"),
    (Rule.HEALTH, PLAIN, view(state=State.UNAVAILABLE), "does not answer"),
    (Rule.DRAINING, PLAIN, view(state=State.DRAINING), "is draining"),
    (Rule.ROOM, PLAIN, view(in_flight=2, waiting=4), "is full: 2 running and 4 waiting"),
]
LET_THROUGH = [
    (Rule.MODEL, Demand(model="alpha"), view()),
    (Rule.MODEL, Demand(model="alpha"), view(by_name=True)),
    (Rule.STEPS, Demand(steps=100), view()),
    (Rule.IMAGES, Demand(images=4), view(max_images=4)),
    (Rule.TRIED, Demand(tried=frozenset({"triton/beta"})), view()),
    (Rule.ROOM, PLAIN, view(in_flight=2, waiting=3)),
    (Rule.ROOM, PLAIN, view(in_flight=1, queue=0)),
]


def test_every_rule_is_in_the_table_once():
    assert [rule for rule, _ in FILTERS] == list(Rule)
    assert {rule for rule, *_ in REFUSED} == set(Rule)


@pytest.mark.parametrize(("rule", "demand", "backend", "reason"), REFUSED)
def test_refuses(rule, demand, backend, reason):
    assert dict(FILTERS)[rule](demand, backend) == reason
    others = [refuses(demand, backend) for other, refuses in FILTERS if other is not rule]
    assert not any(others), "one filter is one rule"


@pytest.mark.parametrize(("rule", "demand", "backend"), LET_THROUGH)
def test_lets_through(rule, demand, backend):
    assert dict(FILTERS)[rule](demand, backend) == ""
