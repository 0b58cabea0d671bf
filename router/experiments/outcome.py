"""How an experiment stands, and whether it is over. Pure."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from router.experiments.experiment import HIGHER_WINS, Arm, Experiment, Metric, Plan, State
from router.experiments.guardrails import broken
from router.experiments.sequential import ALPHA, Estimate, Sums, enough, estimate, p_value
from router.experiments.tally import Tally

Tallies = Mapping[str, Tally]

_MEASURED: Mapping[Metric, Callable[[Tally], Sums]] = {
    Metric.QUALITY: lambda tally: tally.quality,
    Metric.SECONDS: lambda tally: tally.seconds,
    Metric.COST: lambda tally: tally.cost,
    Metric.RATING: lambda tally: tally.rating,
}


def judge(experiment: Experiment, tallies: Tallies, now: float) -> Experiment:
    """Return a running experiment as it stands with these results, by arm, at `now` (seconds since the epoch).

    A broken guardrail ends it, then a winner, then its time. Each tested arm is compared with its baseline at `ALPHA`
    divided by the number of them (Bonferroni), and its p-value is the smallest one so far.
    """
    plan = experiment.plan
    p_values = dict(experiment.p_values)
    for arm, before, other in _compared(plan, tallies):
        p_values[arm.name] = min(p_values.get(arm.name, 1.0), p_value(before, other))
    standing = replace(experiment, p_values=p_values)
    alpha = ALPHA / max(1, len(plan.tested))
    for arm in plan.tested:
        baseline = plan.baseline(arm)
        control, tally = _of(tallies, baseline), _of(tallies, arm)
        if reason := broken(baseline, control, arm, tally, plan.guardrails, alpha):
            return _ended(standing, State.GUARDED, reason, tallies, now)
    if won := _winner(standing, tallies, alpha):
        arm, reason = won
        return replace(_ended(standing, State.DECIDED, reason, tallies, now), winner=arm.name)
    if now >= experiment.expires_at:
        return _ended(standing, State.EXPIRED, "its time was over without a winner", tallies, now)
    return standing


def _winner(experiment: Experiment, tallies: Tallies, alpha: float) -> tuple[Arm, str] | None:
    """Return the winner and why: who leads its baseline by most, or the control when all others are worse.

    A difference counts where the smallest p-value is below alpha and the means still say who is ahead.
    """
    plan, metric = experiment.plan, experiment.plan.metric
    sign = 1 if metric in HIGHER_WINS else -1
    sure = [
        (sign * (other.mean - before.mean), arm, before, other)
        for arm, before, other in _compared(plan, tallies)
        if experiment.p_values[arm.name] < alpha
    ]
    if not sure:
        return None
    lead, arm, before, other = max(sure, key=lambda one: one[0])
    said = f"{arm.name} {other.mean:.4g}, {plan.baseline(arm).name} {before.mean:.4g}"
    if lead > 0:
        return arm, f"{arm.name} is better in {metric}: {said}, {_shown(experiment.p_values[arm.name])}"
    if lead < 0 and len(sure) == len(plan.tested):
        p = max(experiment.p_values[arm.name] for arm in plan.tested)
        return plan.control, f"every other arm is worse in {metric}, the best of them: {said}, {_shown(p)}"
    return None


def _compared(plan: Plan, tallies: Tallies) -> Iterator[tuple[Arm, Estimate, Estimate]]:
    """Yield each tested arm that has results enough, with the mean of its baseline in the metric and its own."""
    measured = _MEASURED[plan.metric]
    for arm in plan.tested:
        before = estimate(measured(_of(tallies, plan.baseline(arm))))
        other = estimate(measured(_of(tallies, arm)))
        if before is not None and other is not None and enough(before, other):
            yield arm, before, other


def _of(tallies: Tallies, arm: Arm) -> Tally:
    return tallies.get(arm.name, Tally())


def _ended(experiment: Experiment, state: State, reason: str, tallies: Tallies, now: float) -> Experiment:
    return replace(experiment, state=state, reason=reason, results=tallies, ended_at=now)


def _shown(p: float) -> str:
    return f"p = {p:.2g}" if p >= 1e-6 else "p < 0.000001"
