"""An arm that is surely worse than allowed is told, and no other."""

import pytest

from router.experiments.experiment import Arm, Guardrails
from router.experiments.guardrails import broken
from router.experiments.sequential import ALPHA, Sums
from router.experiments.tally import Tally

A = Arm("a", "alpha", 0.5)
B = Arm("b", "beta", 0.5)
SHADOW = Arm("b", "beta", 0.5, shadow=True)
RAILS = Guardrails()


def ones(ones: int, of: int) -> Sums:
    return Sums.of_values(of, ones, ones)


def costs(mean: float, of: int) -> Sums:
    return Sums.of_values(of, mean * of, (mean**2 + 0.01**2) * of)


def found(control: Tally, tally: Tally, arm: Arm = B, rails: Guardrails = RAILS) -> str:
    return broken(A, control, arm, tally, rails, ALPHA)


def test_failures():
    control = Tally(failed=ones(2, 200))
    assert found(control, Tally(failed=ones(60, 200))) == (
        "b fails more than a: 30 % against 1 %, where 5 % more is allowed"
    )
    assert not found(control, Tally(failed=ones(10, 200)))  # 5 %: within the margin
    assert not found(control, Tally(failed=ones(16, 200)))  # 8 %: beyond, and not surely so
    assert not found(Tally(failed=ones(60, 200)), Tally(failed=ones(2, 200)))  # better is not worse


def test_refusals_of_the_safety_check():
    control, worse = Tally(unsafe=ones(0, 200)), Tally(unsafe=ones(40, 200))
    assert found(control, worse) == (
        "b is refused by the safety check more than a: 20 % against 0 %, where 2 % more is allowed"
    )
    assert not found(control, worse, SHADOW)  # its pictures are shown to nobody and checked by nobody


def test_cost():
    control, worse = Tally(cost=costs(0.04, 200)), Tally(cost=costs(0.19, 200))
    assert found(control, worse) == "b costs more than a: $0.19 against $0.04, where $0.1 more is allowed"
    assert found(control, worse, SHADOW)
    assert not found(control, worse, rails=Guardrails(cost_usd=0.2))


def test_no_words_before_there_are_results_enough():
    assert not found(Tally(), Tally())
    assert not found(Tally(failed=ones(0, 500)), Tally(failed=ones(40, 40)))
    assert not found(Tally(failed=ones(0, 40)), Tally(failed=ones(500, 500)))
    assert found(Tally(failed=ones(0, 50)), Tally(failed=ones(50, 50)))


@pytest.mark.parametrize("failed", [1, 2, 3])
def test_a_few_failures_against_none_are_no_proof(failed):
    """Without a single failure of the control its rate has no variance of its own; that is not certainty."""
    rails = Guardrails(error_rate=0.0)
    assert not found(Tally(failed=ones(0, 60)), Tally(failed=ones(failed, 60)), rails=rails)
