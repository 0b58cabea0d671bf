"""When an experiment is ended to protect its callers. Pure."""

from collections.abc import Callable
from typing import NamedTuple

from router.experiments.experiment import Arm, Guardrails
from router.experiments.sequential import Estimate, Sums, enough, estimate, p_value_beyond
from router.experiments.tally import Tally


class Rail(NamedTuple):
    """One of the guardrails: what it watches, how much more is allowed, and how to say what was seen.

    A `rate` counts ones among zeros; `of_shadows` tells whether it can be measured of an arm that nobody sees.
    """

    words: str
    watched: Callable[[Tally], Sums]
    margin: Callable[[Guardrails], float]
    shown: Callable[[float], str]
    rate: bool
    of_shadows: bool = True


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _dollars(usd: float) -> str:
    return f"${usd:.3g}"


RAILS = (
    Rail("fails more", lambda tally: tally.failed, lambda rails: rails.error_rate, _percent, rate=True),
    Rail(
        "is refused by the safety check more",
        lambda tally: tally.unsafe,
        lambda rails: rails.unsafe_rate,
        _percent,
        rate=True,
        of_shadows=False,
    ),
    Rail("costs more", lambda tally: tally.cost, lambda rails: rails.cost_usd, _dollars, rate=False),
)


def broken(
    baseline: Arm, control: Tally, arm: Arm, tally: Tally, guardrails: Guardrails, alpha: float
) -> str:
    """Return which guardrail an arm breaks, in words; empty where it breaks none. `control` is the baseline's tally.

    It breaks one when it is worse than its baseline by more than the margin, as surely as `alpha` says at every look.
    """
    for rail in RAILS:
        if arm.shadow and not rail.of_shadows:
            continue
        before, now = _estimate(rail, control), _estimate(rail, tally)
        if before is None or now is None or not enough(before, now):
            continue
        margin = rail.margin(guardrails)
        if p_value_beyond(before, now, margin) < alpha:
            return (
                f"{arm.name} {rail.words} than {baseline.name}: {rail.shown(now.mean)} against "
                f"{rail.shown(before.mean)}, where {rail.shown(margin)} more is allowed"
            )
    return ""


def _estimate(rail: Rail, tally: Tally) -> Estimate | None:
    """Return the mean of what is watched; that of a rate is no surer than with one more success and one more failure.

    Without them a rate of none or of all would have no variance at all (Agresti and Caffo, *Simple and effective
    confidence intervals for proportions and differences of proportions*, 2000).
    """
    sums = rail.watched(tally)
    found = estimate(sums)
    if found is None or not rail.rate:
        return found
    tempered = (sums.total + 1) / (sums.values + 2)
    return found._replace(variance=max(found.variance, tempered * (1 - tempered) / sums.values))
