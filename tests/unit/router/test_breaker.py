"""The breaker: open at once for what is away, after a few faults in a row for what fails, and back by doubling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.breaker import RULES, Breaker, Fault, Rules, Stance

AWAY, FAILED = Fault.AWAY, Fault.FAILED
CLOSED, OPEN, HALF_OPEN = Stance.CLOSED, Stance.OPEN, Stance.HALF_OPEN


def opened(concurrency=8, fault=AWAY, now=0.0):
    breaker = Breaker(concurrency)
    breaker.open(fault, now)
    return breaker


def stance(breaker):
    return breaker.stance, breaker.allowance


def test_it_starts_closed_and_trusts_with_everything():
    assert stance(Breaker(5)) == (CLOSED, 5)


def test_what_went_away_opens_it_at_once_and_its_first_answer_half_opens_it():
    breaker = Breaker(8)
    assert breaker.fail(AWAY, 0, now=0)
    assert stance(breaker) == (OPEN, 0)
    breaker.answer(now=0)
    assert stance(breaker) == (HALF_OPEN, 1)


def test_a_few_faults_in_a_row_open_it_and_a_success_between_them_clears_them():
    breaker = Breaker(8)
    assert [breaker.fail(FAILED, 0, now) for now in (0, 1)] == [False, False]
    breaker.succeed(0)
    assert [breaker.fail(FAILED, 0, now) for now in (2, 3, 4)] == [False, False, True]
    breaker.answer(now=4 + RULES.pause - 0.1)
    assert stance(breaker) == (OPEN, 0)
    breaker.answer(now=4 + RULES.pause)
    assert stance(breaker) == (HALF_OPEN, 1)


def test_faults_far_apart_do_not_open_it():
    breaker = Breaker(8)
    assert not any(breaker.fail(FAILED, 0, now * (RULES.window / 2 + 1)) for now in range(10))
    assert breaker.stance is CLOSED


@pytest.mark.parametrize(("concurrency", "path"), [(1, [1]), (2, [2]), (5, [2, 4, 5]), (16, [2, 4, 8, 16])])
def test_each_success_doubles_the_allowance_until_it_is_closed(concurrency, path):
    breaker = opened(concurrency)
    breaker.answer(0)
    for allowance in path:
        assert breaker.stance is HALF_OPEN
        breaker.succeed(breaker.spell)
        assert breaker.allowance == allowance
    assert breaker.stance is CLOSED


@pytest.mark.parametrize("fault", [AWAY, FAILED])
def test_a_failure_on_the_way_back_opens_it_for_twice_as_long_up_to_a_bound(fault):
    breaker, now, pauses = opened(), 0.0, []
    for _ in range(8):
        while breaker.stance is OPEN:
            breaker.answer(now)
            now += 0.5
        breaker.succeed(breaker.spell)
        assert breaker.allowance == 2
        assert breaker.fail(fault, breaker.spell, now)
        pauses.append(breaker._until - now)
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]


def test_the_pauses_start_anew_when_it_was_closed():
    breaker = opened(2)
    for _ in range(3):
        breaker.answer(1000)
        breaker.fail(AWAY, breaker.spell, 0)
    breaker.answer(1000)
    breaker.succeed(breaker.spell)
    assert breaker.stance is CLOSED
    breaker.fail(AWAY, breaker.spell, 2000)
    breaker.answer(2000)
    assert breaker.stance is HALF_OPEN


def test_what_an_opening_overtook_counts_for_nothing():
    breaker = Breaker(8)
    before = breaker.spell
    assert breaker.fail(AWAY, before, 0)
    breaker.answer(0)
    assert not breaker.fail(AWAY, before, 0), "the same crash ended this run too"
    breaker.succeed(before)
    assert stance(breaker) == (HALF_OPEN, 1)


events = st.lists(
    st.tuples(st.sampled_from(["succeed", "away", "failed", "answer", "stale"]), st.floats(0, 10)),
    max_size=60,
)


@given(concurrency=st.integers(1, 40), plan=events)
def test_trust_grows_by_success_alone_and_never_beyond_the_concurrency(concurrency, plan):
    breaker, now = Breaker(concurrency, Rules()), 0.0
    for what, passed in plan:
        now += passed
        before = stance(breaker)
        match what:
            case "succeed":
                breaker.succeed(breaker.spell)
                assert breaker.allowance <= max(before[1], min(concurrency, before[1] * 2))
            case "away":
                breaker.fail(AWAY, breaker.spell, now)
                assert stance(breaker) == (OPEN, 0)
            case "failed":
                breaker.fail(FAILED, breaker.spell, now)
                assert breaker.allowance <= before[1]
            case "answer":
                breaker.answer(now)
                assert breaker.allowance <= max(before[1], 1)
            case "stale":
                breaker.succeed(breaker.spell - 1)
                breaker.fail(AWAY, breaker.spell - 1, now)
                assert stance(breaker) == before
        assert {CLOSED: concurrency, OPEN: 0}.get(breaker.stance, breaker.allowance) == breaker.allowance
        assert 0 <= breaker.allowance <= concurrency
