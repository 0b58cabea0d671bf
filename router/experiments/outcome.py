"""How an experiment stands, and whether it is over. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from router.experiments.experiment import HIGHER_WINS, Arm, Experiment, State
from router.experiments.guardrails import broken
from router.experiments.sequential import ALPHA, Estimate, enough, estimate, p_value
from router.experiments.tally import Tally

Tallies = Mapping[str, Tally]


def judge(experiment: Experiment, tallies: Tallies, now: float) -> Experiment:
    """Return a running experiment as it stands with these results, by arm, at `now` (seconds since the epoch).

    A broken guardrail ends it, then a winner, then its time. Each challenger is tested against the control at
    `ALPHA` divided by their number (Bonferroni), and its p-value is the smallest one so far.
    """
    plan = experiment.plan
    p_values = dict(experiment.p_values)
    for arm, control, other in _compared(experiment, tallies):
        p_values[arm.name] = min(p_values.get(arm.name, 1.0), p_value(control, other))
    standing = replace(experiment, p_values=p_values)
    alpha = ALPHA / len(plan.challengers)
    for arm in plan.challengers:
        if reason := broken(_of(tallies, plan.control), arm, _of(tallies, arm), plan.guardrails, alpha):
            return _ended(standing, State.GUARDED, reason, now)
    if won := _winner(standing, tallies, alpha):
        arm, reason = won
        return replace(_ended(standing, State.DECIDED, reason, now), winner=arm.name)
    if now >= experiment.expires_at:
        return _ended(standing, State.EXPIRED, "its time was over without a winner", now)
    return standing


def _winner(experiment: Experiment, tallies: Tallies, alpha: float) -> tuple[Arm, str] | None:
    """Return the winner and why: the best of those that beat the control, or the control when all others are worse.

    A difference counts where the smallest p-value is below alpha and the means still say who is ahead.
    """
    plan, metric = experiment.plan, experiment.plan.metric
    sign = 1 if metric in HIGHER_WINS else -1
    sure = [
        (sign * (other.mean - control.mean), arm, control, other)
        for arm, control, other in _compared(experiment, tallies)
        if experiment.p_values[arm.name] < alpha
    ]
    ahead = [one for one in sure if one[0] > 0]
    if ahead:
        _, arm, control, other = max(ahead, key=lambda one: one[0])
        p = experiment.p_values[arm.name]
        return (
            arm,
            f"{arm.name} is better in {metric}: {other.mean:.4g} against {control.mean:.4g}, {_shown(p)}",
        )
    if len(sure) == len(plan.challengers) and all(lead < 0 for lead, *_ in sure):
        _, arm, control, other = max(sure, key=lambda one: one[0])
        p = max(experiment.p_values[arm.name] for arm in plan.challengers)
        reason = (
            f"every other arm is worse in {metric}: the control has {control.mean:.4g}, the next best, {arm.name}, "
            f"{other.mean:.4g}, {_shown(p)}"
        )
        return plan.control, reason
    return None


def _compared(experiment: Experiment, tallies: Tallies) -> Iterator[tuple[Arm, Estimate, Estimate]]:
    """Yield each challenger that has results enough, with the control's mean in the metric and its own."""
    plan = experiment.plan
    control = estimate(_of(tallies, plan.control).of(plan.metric))
    for arm in plan.challengers:
        other = estimate(_of(tallies, arm).of(plan.metric))
        if control is not None and other is not None and enough(control, other):
            yield arm, control, other


def _of(tallies: Tallies, arm: Arm) -> Tally:
    return tallies.get(arm.name, Tally())


def _ended(experiment: Experiment, state: State, reason: str, now: float) -> Experiment:
    return replace(experiment, state=state, reason=reason, ended_at=now)


def _shown(p: float) -> str:
    return f"p = {p:.2g}" if p >= 1e-6 else "p < 0.000001"
