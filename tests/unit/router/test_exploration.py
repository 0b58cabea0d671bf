"""Now and then a backend is tried that is not the best known, and callers never give up more than was agreed."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from router.decision import Exploration, decide
from router.demand import Demand, Objective
from router.exploration import Explorer
from router.policy import load_policy
from router.settings import WEIGHTS_FILE
from router.snapshot import Snapshot, State
from tests.unit.router.scripted import judged, view

POLICY = load_policy(WEIGHTS_FILE)
DEMAND = Demand(objective=Objective.QUALITY)

known = view("triton/known", quality=judged(0.8, 0.01))
doubtful = view("triton/doubtful", quality=judged(0.75, 0.2))
worse = view("triton/worse", quality=judged(0.3, 0.01))


def explorer(**rules):
    return Explorer(replace(POLICY, exploration=replace(POLICY.exploration, **rules)))


def picks(one, *backends, demand=DEMAND, times=300, seed=0):
    """Who is picked how often, and what was given up in all, and what there was to give."""
    decision = decide(demand, Snapshot(backends), POLICY)
    rng, names, given_up = random.Random(seed), Counter(), 0.0
    for _ in range(times):
        candidate, why = one.pick(decision, rng)
        names[candidate.backend.model] += 1
        given_up += decision.candidates[0].score - candidate.score
        assert bool(why) == (candidate is not decision.candidates[0])
    return names, given_up, times * decision.candidates[0].score


def test_what_little_is_known_of_is_tried_and_what_is_surely_worse_is_not():
    names, _, _ = picks(explorer(share=0.5), known, doubtful, worse)
    assert names["doubtful"] > 50
    assert names["worse"] == 0


def test_callers_give_up_no_more_than_the_share():
    for share in (0.0, 0.001, 0.02):
        names, given_up, scores = picks(explorer(share=share), known, doubtful)
        assert given_up <= share * scores + 1e-9
        assert (names["doubtful"] > 0) == (share > 0)


def test_one_request_gives_up_no_more_than_its_stake():
    names, _, _ = picks(explorer(share=1.0, stake=0.03), known, doubtful)
    assert names["doubtful"] == 0  # it would take 0.04
    names, _, _ = picks(explorer(share=1.0, stake=0.05), known, doubtful)
    assert names["doubtful"] > 0


def test_no_more_is_kept_than_the_reserve():
    one = explorer(share=1.0, reserve=0.5)
    picks(one, known)
    assert one.purse == 0.5


def test_slow_or_fast_is_found_out_too():
    decision = decide(
        Demand(objective=Objective.LATENCY), Snapshot((known, view("triton/new", pace=0.2))), POLICY
    )
    assert decision.candidates[0].backend is known
    unsure = known.forecast._replace(
        per_stroke=0.2 / 256e-6, covariance=((0.0,) * 4, (0.0, (0.2 / 256e-6) ** 2, 0, 0), *((0.0,) * 4,) * 2)
    )
    names, _, _ = picks(
        explorer(share=1.0),
        known,
        view("triton/new", forecast=unsure),
        demand=Demand(objective=Objective.LATENCY),
    )
    assert names["new"] > 30


@pytest.mark.parametrize(
    "demand", [replace(DEMAND, model="known"), replace(DEMAND, tried=frozenset({"triton/other"}))]
)
def test_whoever_names_a_model_or_failed_once_gets_the_best(demand):
    one = explorer(share=1.0)
    names, _, _ = picks(one, known, replace(doubtful, model="known"), demand=demand)
    assert names == {"known": 300}
    assert one.purse == 0


def test_the_reason_says_what_is_given_up():
    one, rng = explorer(share=1.0), random.Random(0)
    decision = decide(DEMAND, Snapshot((known, doubtful)), POLICY)
    why = next(why for why in (one.pick(decision, rng)[1] for _ in range(100)) if why)
    assert why == "tried to learn how well it does; gives up 0.040 on triton/known"


def test_the_same_draws_give_the_same_picks():
    runs = [picks(explorer(), known, doubtful, worse, seed=7) for _ in range(2)]
    assert runs[0] == runs[1]


def test_nobody_is_nobody():
    decision = decide(DEMAND, Snapshot((view(state=State.UNAVAILABLE),)), POLICY)
    assert explorer().pick(decision, random.Random(0)) is None


def test_a_policy_explores_nothing_unless_it_says_so():
    names, given_up, _ = picks(Explorer(replace(POLICY, exploration=Exploration())), known, doubtful)
    assert (names["known"], given_up) == (300, 0)
