"""Every rule of a plan, with the field that breaks it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from router.experiments.experiment import Arm, Metric, Plan
from router.experiments.rules import breaches, unknown_models

A, B = Arm("a", "alpha", 0.5), Arm("b", "beta", 0.5)
SHADOW = Arm("c", "gamma", 0.2, shadow=True)
TWIN = Arm("d", "alpha", 0.2, shadow=True)
GOOD = Plan((A, B))


def test_a_good_plan_breaks_none():
    for plan in (
        GOOD,
        Plan((A, replace(B, model="alpha"))),  # two arms of one model try the splitting itself
        Plan((replace(A, share=1.0), TWIN, SHADOW)),
        Plan((A, B, SHADOW), metric=Metric.COST),
        Plan(tuple(Arm(str(index), "alpha", 1 / 8) for index in range(8))),
    ):
        assert not list(breaches(plan))


@pytest.mark.parametrize(
    ("plan", "field", "words"),
    [
        (replace(GOOD, arms=(replace(A, share=0.6), B)), "arms", "must sum to 1, not to 1.1"),
        (replace(GOOD, arms=(A, B, replace(SHADOW, shadow=False))), "arms", "not to 1.2"),
        (Plan((A, replace(SHADOW, share=0.5)), metric=Metric.COST), "arms", "not to 0.5"),
        (replace(GOOD, arms=(A, B, SHADOW)), "arms[2].shadow", "a shadow of the control's model"),
        (replace(GOOD, arms=(A, B, SHADOW), metric=Metric.SECONDS), "arms[2].shadow", "so there must be one"),
        (replace(GOOD, arms=(A, replace(B, name="a"))), "arms[1].name", "two arms are called a"),
        (
            replace(GOOD, arms=(replace(SHADOW, share=1.0), replace(A, share=1.0))),
            "arms[0].shadow",
            "control",
        ),
        (replace(GOOD, arms=(A, B, SHADOW), metric=Metric.RATING), "arms[2].shadow", "nobody rates"),
        (replace(GOOD, arms=(replace(A, share=1.0),)), "arms", "2 to 8"),
        (replace(GOOD, duration=timedelta(days=90, seconds=1)), "duration", "at most 90 days"),
        (replace(GOOD, duration=timedelta()), "duration", "above 0"),
    ],
)
def test_what_breaks_a_rule_is_told_with_its_field(plan, field, words):
    (breach,) = breaches(plan)
    assert breach.field == field
    assert words in breach.rule


def test_models_that_nobody_serves():
    ((index, breach),) = unknown_models(GOOD, {"alpha"})
    assert (index, breach.field, breach.rule) == (1, "arms[1].model", "no model is called beta")
    assert not list(unknown_models(GOOD, {"alpha", "beta"}))
