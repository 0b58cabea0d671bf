"""How an experiment ends: guarded, decided, expired, in this order."""

from dataclasses import replace
from datetime import timedelta

import pytest

from router.experiments.experiment import Arm, Experiment, Metric, Plan, State
from router.experiments.outcome import judge
from router.experiments.sequential import ALPHA, Sums
from router.experiments.tally import Tally

A, B, C = Arm("a", "alpha", 0.4), Arm("b", "beta", 0.3), Arm("c", "gamma", 0.3)
PAIR = Plan((replace(A, share=0.5), replace(B, share=0.5)), duration=timedelta(days=1))
TRIO = replace(PAIR, arms=(A, B, C))
DAY = 86_400.0


def running(plan: Plan = PAIR, **p_values: float) -> Experiment:
    return Experiment("one", plan, started_at=1000.0, p_values=p_values)


def scores(mean: float, count: int = 200, spread: float = 0.1) -> Sums:
    return Sums.of_values(count, mean * count, count * (mean**2 + spread**2))


def quality(**means: float) -> dict[str, Tally]:
    return {name: Tally(quality=scores(mean)) for name, mean in means.items()}


def test_the_better_arm_wins():
    ended = judge(running(), quality(a=0.6, b=0.7), now=2000.0)
    assert (ended.state, ended.winner, ended.ended_at) == (State.DECIDED, "b", 2000.0)
    assert ended.reason == "b is better in quality: b 0.7, a 0.6, p < 0.000001"
    assert ended.p_values["b"] < 1e-6


def test_the_control_wins_when_all_others_are_worse():
    ended = judge(running(TRIO), quality(a=0.7, b=0.6, c=0.5), now=2000.0)
    assert (ended.state, ended.winner) == (State.DECIDED, "a")
    assert "every other arm is worse in quality, the best of them: b 0.6, a 0.7" in ended.reason
    undecided = judge(running(TRIO), quality(a=0.7, b=0.7, c=0.5), now=2000.0)
    assert (undecided.state, undecided.winner) == (State.RUNNING, "")


def test_of_two_that_beat_the_control_the_better_one_wins():
    assert judge(running(TRIO), quality(a=0.5, b=0.6, c=0.7), now=2000.0).winner == "c"


@pytest.mark.parametrize(
    ("metric", "winner"), [("quality", "b"), ("rating", "b"), ("seconds", "a"), ("cost", "a")]
)
def test_each_metric_knows_which_end_is_the_better_one(metric, winner):
    plan = replace(PAIR, metric=Metric(metric))
    tallies = {"a": Tally(**{metric: scores(0.5)}), "b": Tally(**{metric: scores(0.55)})}
    assert judge(running(plan), tallies, now=2000.0).winner == winner


def test_more_arms_must_differ_more():
    """A p-value between ALPHA / 2 and ALPHA decides between two arms and not between three."""
    means = quality(a=0.6, b=0.632, c=0.6)
    pair = judge(running(), means, now=2000.0)
    assert ALPHA / 2 < pair.p_values["b"] < ALPHA
    assert pair.winner == "b"
    assert judge(running(TRIO), means, now=2000.0).state is State.RUNNING


def test_a_p_value_never_grows_again():
    ended = judge(running(b=0.2), quality(a=0.6, b=0.6), now=2000.0)
    assert (ended.state, ended.p_values) == (State.RUNNING, {"b": 0.2})


def test_nothing_is_decided_by_few_results():
    few = {"a": Tally(quality=scores(0.1, 49)), "b": Tally(quality=scores(0.9, 500))}
    assert judge(running(), few, now=2000.0) == running()
    assert judge(running(), {}, now=2000.0) == running()


def test_a_guardrail_comes_before_a_winner():
    tallies = quality(a=0.6, b=0.7)
    tallies["a"] = replace(tallies["a"], failed=Sums.of_values(200, 0, 0))
    tallies["b"] = replace(tallies["b"], failed=Sums.of_values(200, 100, 100))
    ended = judge(running(), tallies, now=2000.0)
    assert (ended.state, ended.winner) == (State.GUARDED, "")
    assert ended.reason.startswith("b fails more than a: 50 % against 0 %")


def test_its_time_is_over():
    same = quality(a=0.6, b=0.6)
    assert judge(running(), same, now=1000.0 + DAY - 1).state is State.RUNNING
    ended = judge(running(), same, now=1000.0 + DAY)
    assert (ended.state, ended.winner, ended.ended_at) == (State.EXPIRED, "", 1000.0 + DAY)
    assert ended.reason == "its time was over without a winner"
    assert judge(running(), quality(a=0.6, b=0.7), now=1000.0 + DAY).state is State.DECIDED


def test_a_shadow_is_compared_with_the_control_s_own_shadow():
    twin, copy = Arm("twin", "alpha", 0.1, shadow=True), Arm("copy", "beta", 0.1, shadow=True)
    plan = replace(PAIR, arms=(Arm("a", "alpha", 1.0), twin, copy))
    # what callers got was restored and scored otherwise, and says nothing of how the copies compare
    even = judge(running(plan), quality(a=0.9, twin=0.6, copy=0.6), now=2000.0)
    assert (even.state, even.p_values) == (State.RUNNING, {"copy": 1.0})
    ended = judge(running(plan), quality(a=0.9, twin=0.6, copy=0.7), now=2000.0)
    assert (ended.winner, ended.reason) == (
        "copy",
        "copy is better in quality: copy 0.7, twin 0.6, p < 0.000001",
    )
    assert judge(running(plan), quality(a=0.9, twin=0.6, copy=0.5), now=2000.0).winner == "a"
