"""The simulated day is fair and repeatable, and the router earns its keep in it."""

import math

import pytest

from bench.routing_day.__main__ import utility_of
from bench.routing_day.day import Backend, Day
from bench.routing_day.learned import Learned, prediction_errors, recovery
from bench.routing_day.rules import LeastLoaded, Oracle, RoundRobin
from bench.routing_day.world import BACKENDS, DAY, SLOWDOWN, requests
from router.policy import load_policy
from router.settings import WEIGHTS_FILE

WEIGHTS = load_policy(WEIGHTS_FILE)
COUNT = 600


def played(policy):
    day = Day(BACKENDS, policy, utility_of(WEIGHTS))
    if isinstance(policy, Oracle):
        policy.day = day
    return day.play(requests(COUNT, 3))


def regret(day):
    return sum(one.regret for one in day) / len(day)


def test_equal_seeds_give_equal_days_and_others_do_not():
    assert list(requests(COUNT, 3)) == list(requests(COUNT, 3))
    assert list(requests(COUNT, 3)) != list(requests(COUNT, 4))


def test_a_day_has_about_as_many_requests_as_were_asked_for_and_a_night():
    day = list(requests(20_000, 3))
    assert len(day) == pytest.approx(20_000, rel=0.05)
    assert all(0 <= one.at < DAY for one in day)
    night, noon = (sum(hour * 3600 <= one.at < (hour + 1) * 3600 for one in day) for hour in (3, 15))
    assert noon > 5 * night


def test_every_request_is_served_and_nobody_is_better_than_the_oracle():
    oracle = played(Oracle())
    assert len(oracle) == len(list(requests(COUNT, 3)))
    assert all(one.seconds > 0 for one in oracle)
    assert regret(oracle) == 0
    assert all(one.regret >= 0 for one in played(LeastLoaded()))


def test_the_router_gives_away_a_fraction_of_what_simple_rules_do():
    ours = regret(played(Learned(BACKENDS, WEIGHTS, seed=3)))
    assert ours < regret(played(RoundRobin(BACKENDS))) / 4
    assert ours < regret(played(Learned(BACKENDS, WEIGHTS, learns=False))) / 2


def test_predictions_get_better_with_observations_and_a_slowdown_is_believed_soon():
    truth = BACKENDS[2]
    errors = dict(prediction_errors(truth, requests(10**6, 1), (0, 50, 500), 200))
    assert errors[50] < errors[0]
    assert errors[500] < 0.1
    assert recovery(truth, requests(10**6, 2), SLOWDOWN, 0.25) <= 15


def test_who_knows_everything_foresees_the_queue():
    truth = BACKENDS[0]
    (request,) = list(requests(COUNT, 3))[:1]
    backend = Backend(truth)
    assert backend.wait(0.0) == 0
    day = Day([truth], LeastLoaded(), lambda _objective, _quality, seconds, _usd: -seconds)
    served = day.play([request] * 1)
    assert math.isclose(
        served[0].seconds / backend.expected(request, request.at), request.seconds_luck, rel_tol=1e-6
    )
