import math

import pytest

from services.orchestrator.acceptance import (
    FINISH_SECONDS,
    SLACK,
    Accept,
    Attempt,
    Escalate,
    GiveUp,
    Goal,
    Left,
    Option,
    Regenerate,
    best,
    decide,
)

GOAL = Goal(0.6, 3, near=0.1)
CLOSE, FAR = 0.55, 0.4
FREE = Left()


def drew(score=CLOSE, model="house", **fields):
    return Attempt(model, score=score, **{"quality": 0.5, "seconds": 2.0} | fields)


REFUSED = drew(None, refused=True)
FINE = Option("fine", quality=0.8, seconds=4.0, usd=0.04)
FINEST = Option("finest", quality=0.9, seconds=8.0, usd=0.2)
POOR = Option("poor", quality=0.5, seconds=1.0, usd=0.0)
ENOUGH = 2.0 * SLACK + FINISH_SECONDS


@pytest.mark.parametrize(
    ("attempts", "left", "options", "expected"),
    [
        pytest.param([drew(0.6)], FREE, [FINE], Accept, id="reaches its goal"),
        pytest.param([drew(FAR), drew(0.7)], FREE, [], Accept, id="the second one does"),
        pytest.param([drew(None)], FREE, [FINE], GiveUp, id="not scored"),
        pytest.param([drew(), drew(None)], FREE, [FINE], GiveUp, id="the second one is not scored"),
        pytest.param([drew()], FREE, [FINE], Regenerate, id="near its goal"),
        pytest.param([drew(FAR)], FREE, [FINE], Escalate(FINE, ""), id="far from it"),
        pytest.param([drew(FAR)], FREE, [], Regenerate, id="far, and nobody draws better"),
        pytest.param([drew(FAR)], FREE, [POOR], Regenerate, id="far, and the other draws no better"),
        pytest.param([drew(FAR)], FREE, [POOR, FINE, FINEST], Escalate(FINEST, ""), id="the best of several"),
        pytest.param([drew(FAR)], Left(usd=0.1), [FINEST, FINE], Escalate(FINE, ""), id="that can be paid"),
        pytest.param([drew(FAR)], Left(seconds=8.0), [FINEST, FINE], Escalate(FINE, ""), id="and is in time"),
        pytest.param([drew(FAR)], Left(usd=0.0), [FINE], Regenerate, id="no money, but this one is free"),
        pytest.param([drew(), drew()], FREE, [FINE], Escalate(FINE, ""), id="near twice"),
        pytest.param([drew(), drew()], FREE, [], Regenerate, id="near twice, and nobody draws better"),
        pytest.param(
            [drew(FAR), drew(FAR, "fine", quality=0.8)], FREE, [FINE, POOR], Regenerate, id="fine was tried"
        ),
        pytest.param(
            [drew(FAR), drew(FAR, "finest", quality=0.9)], FREE, [FINE], Regenerate, id="never back to a poorer one"
        ),
        pytest.param([drew()] * 3, FREE, [FINE], GiveUp, id="as often as it may be"),
        pytest.param([REFUSED], FREE, [FINE], Regenerate, id="refused"),
        pytest.param([REFUSED, REFUSED], FREE, [FINE], Escalate(FINE, ""), id="refused twice"),
        pytest.param([REFUSED] * 3, FREE, [FINE], GiveUp, id="refused to the end"),
        pytest.param([drew()], Left(seconds=ENOUGH), [], Regenerate, id="just time enough"),
        pytest.param([drew()], Left(seconds=ENOUGH - 0.1), [], GiveUp, id="not time enough"),
        pytest.param([drew()], Left(seconds=-1.0), [FINE], GiveUp, id="late already"),
        pytest.param([drew(usd=0.04)], Left(usd=0.04), [], Regenerate, id="just money enough"),
        pytest.param([drew(usd=0.04)], Left(usd=0.03), [], GiveUp, id="not money enough"),
        pytest.param([drew(usd=math.inf)], Left(usd=1.0), [], GiveUp, id="of unknown price"),
        pytest.param(
            [drew(seconds=60.0)], Left(seconds=10.0), [FINE], Escalate(FINE, ""), id="the better one is quicker"
        ),
    ],
)  # fmt: skip
def test_what_follows(attempts, left, options, expected):
    decision = decide(attempts, GOAL, left, options)
    if isinstance(expected, Escalate):
        assert isinstance(decision, Escalate)
        assert decision.option == expected.option
    else:
        assert type(decision) is expected
    assert decision.reason


@pytest.mark.parametrize(
    ("attempt", "left", "said"),
    [
        (drew(0.7), FREE, "0.70 reaches 0.60"),
        (drew(None), FREE, "it could not be scored"),
        (drew(FAR), FREE, "0.40 is under 0.60; another seed is tried"),
        (REFUSED, FREE, "the safety check refused it; another seed is tried"),
        (
            drew(FAR),
            Left(seconds=3.0),
            "0.40 is under 0.60, and another takes about 2.0 s, with 3.0 s left for it",
        ),
        (drew(FAR, usd=0.2), Left(usd=0.05), "0.40 is under 0.60, and another costs $0.2, with $0.05 left"),
    ],
)
def test_the_reason_says_what_it_was(attempt, left, said):
    assert decide([attempt], GOAL, left, []).reason == said


@pytest.mark.parametrize(
    ("attempts", "chosen"),
    [
        ([drew(0.3), drew(0.5), drew(0.5), drew(0.4)], 1),
        ([drew(0.3), REFUSED], 0),
        ([REFUSED, drew(None)], 1),
        ([drew(None), drew(0.0)], 1),
        ([REFUSED, REFUSED], None),
    ],
)
def test_the_best_is_delivered_and_never_one_that_was_refused(attempts, chosen):
    assert best(attempts) == chosen


def test_money_is_counted_as_sums_of_fractions_are():
    again = drew(usd=0.02)
    assert again.usd > 0.06 - 0.04, "or this shows nothing"
    assert isinstance(decide([again], GOAL, Left(usd=0.06 - 0.04), []), Regenerate)


@pytest.mark.parametrize(
    ("score", "goal", "said"),
    [(0.55, 0.6, "0.55 is under 0.60"), (0.798, 0.8, "0.798 is under 0.800"), (0.6, 0.6 + 1e-12, "is under")],
)
def test_a_score_and_a_goal_that_differ_read_differently(score, goal, said):
    assert said in decide([drew(score)], Goal(goal, 3), FREE, []).reason
