"""Each filter refuses what it is for, in words that tell what stands in the way."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.demand import Demand, Modality
from router.filters import FILTERS, Rule, concerning
from router.snapshot import State
from tests.unit.router.scripted import forecast, view

PLAIN = Demand()
VIDEO = Demand(modality=Modality.VIDEO, duration=10)
SURE = Demand(time_limit=0.79)  # a picture takes 0.8 s
UNSURE = forecast(0.1, noise=0.25)  # a picture takes 0.8 ± 0.2 s


def clip(**changes):
    return view("runway/clip", modality=Modality.VIDEO, durations=(5.0, 10.0), **changes)


REFUSED = [
    (Rule.MODALITY, Demand(modality=Modality.VIDEO), view(), "makes text-to-image, not video"),
    (Rule.MODEL, Demand(model="beta"), view(), "serves alpha, not beta"),
    (Rule.MODEL, PLAIN, view(by_name=True), "draws only for those who name it"),
    (
        Rule.TENANT,
        Demand(external=False),
        view(external=True),
        "is an external provider, which this tenant does not allow",
    ),
    (
        Rule.TENANT,
        Demand(noncommercial=False),
        view(commercial=False),
        "has a non-commercial licence, which this tenant does not allow",
    ),
    (
        Rule.TENANT,
        Demand(allowed=frozenset({"beta"})),
        view(),
        "is not among the models that this tenant allows",
    ),
    (Rule.STEPS, Demand(steps=101), view(), "takes at most 100 steps, not 101"),
    (Rule.IMAGES, Demand(images=5), view(max_images=4), "draws at most 4 images, not 5"),
    (
        Rule.PROMPT,
        Demand(prompt_length=1001),
        view(max_prompt=1000),
        "takes at most 1000 characters, not 1001",
    ),
    (
        Rule.PROMPT,
        Demand(prompt_length=990, worded_lengths=(("beta", 990), ("*", 1001))),
        view(max_prompt=1000),
        "takes at most 1000 characters, not 1001",
    ),
    (Rule.SOURCE, Demand(edits=True), view(), "takes no picture to work from"),
    (Rule.DURATION, Demand(modality=Modality.VIDEO, duration=60), clip(), "makes at most 10 s, not 60 s"),
    (Rule.BUDGET, Demand(images=3, max_usd=0.1), view(price=0.04), "costs $0.12, more than $0.1"),
    (Rule.BUDGET, Demand(max_usd=9), view(price=math.inf, paid=True), "has no known price"),
    (Rule.BUDGET, Demand(max_usd=0), view(paid=True), "costs money, and nothing may be spent"),
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
    (
        Rule.HEALTH,
        PLAIN,
        view(state=State.UNAVAILABLE, allowance=0, queue=9),
        "does not answer, or failed too often lately",
    ),
    (Rule.DRAINING, PLAIN, view(state=State.DRAINING), "is draining"),
    (Rule.ROOM, PLAIN, view(in_flight=2, waiting=4), "is full: 2 running and 4 waiting"),
    (
        Rule.ROOM,
        PLAIN,
        view(in_flight=1, waiting=4, allowance=1),
        "is full: 1 running and 4 waiting, trusted with 1 while it comes back",
    ),
    (Rule.DEADLINE, SURE, view(), "is expected to take 0.8 ± 0.0 s, and 0.8 s are left"),
    (
        Rule.DEADLINE,
        Demand(time_limit=0.5),
        view(forecast=UNSURE),
        "is expected to take 0.8 ± 0.2 s, and 0.5 s are left",
    ),
]
LET_THROUGH = [
    (Rule.MODEL, Demand(model="alpha"), view()),
    (Rule.MODEL, Demand(model="alpha"), view(by_name=True)),
    (Rule.TENANT, Demand(external=False, noncommercial=False, allowed=frozenset({"alpha"})), view()),
    (Rule.TENANT, PLAIN, view(external=True, commercial=False)),
    (Rule.STEPS, Demand(steps=100), view()),
    (Rule.STEPS, Demand(steps=101), view(takes_steps=False, max_steps=1)),
    (Rule.IMAGES, Demand(images=4), view(max_images=4)),
    (Rule.PROMPT, Demand(prompt_length=1000), view(max_prompt=1000)),
    (Rule.PROMPT, Demand(prompt_length=4000), view()),
    (
        Rule.PROMPT,
        Demand(prompt_length=1001, worded_lengths=(("al*", 990), ("*", 1001))),
        view(max_prompt=1000),
    ),
    (Rule.SOURCE, Demand(edits=True), view(edits=True)),
    (Rule.DURATION, VIDEO, clip()),
    (Rule.DURATION, Demand(modality=Modality.VIDEO, duration=60), view(modality=Modality.VIDEO)),
    (Rule.BUDGET, Demand(images=16, max_usd=0.64), view(price=0.04, paid=True)),
    (Rule.BUDGET, Demand(max_usd=0), view()),
    (Rule.TRIED, Demand(tried=frozenset({"triton/beta"})), view()),
    (Rule.ROOM, PLAIN, view(in_flight=2, waiting=3)),
    (Rule.ROOM, PLAIN, view(in_flight=1, queue=0)),
    (Rule.DEADLINE, Demand(time_limit=0.61), view(forecast=UNSURE)),
    (Rule.DEADLINE, Demand(time_limit=0.81), view()),
]


def test_every_rule_is_in_the_table_once():
    assert [one.rule for one in FILTERS] == list(Rule)
    assert {rule for rule, *_ in REFUSED} == set(Rule)


def ask(demand, backend):
    """What every filter says, by its rule."""
    estimate = backend.estimate(demand)
    return {one.rule: one.refuses(demand, backend, estimate) for one in FILTERS}


@pytest.mark.parametrize(("rule", "demand", "backend", "reason"), REFUSED)
def test_refuses(rule, demand, backend, reason):
    answers = ask(demand, backend)
    assert answers.pop(rule) == reason
    assert not any(answers.values()), "one filter is one rule"


@pytest.mark.parametrize(("rule", "demand", "backend"), LET_THROUGH)
def test_lets_through(rule, demand, backend):
    assert ask(demand, backend)[rule] == ""


@given(
    demand=st.sampled_from([case[1] for case in REFUSED]),
    backend=st.sampled_from([case[2] for case in REFUSED]),
)
def test_whatever_is_not_asked_would_not_have_refused(demand, backend):
    """The shortcuts of a decision: rules that do not concern a demand, and standing ones for a backend that is open."""
    asked, asked_of_open = concerning(demand)
    spared = {*FILTERS} - {*(asked_of_open if backend.open else asked)}
    answers = ask(demand, backend)
    assert not any(answers[one.rule] for one in spared)


def test_a_video_has_the_nearest_length_that_is_made():
    lengths = {
        wanted: clip().duration(Demand(modality=Modality.VIDEO, duration=wanted))
        for wanted in (1, 7, 7.5, 8, 10)
    }
    assert lengths == {1: 5, 7: 5, 7.5: 10, 8: 10, 10: 10}
