"""A decision in words, for the event that tells the caller who draws and why. Pure."""

from router.decision import Candidate, Decision, Policy
from router.demand import Demand
from router.snapshot import BackendView, State


def reasons(decision: Decision, chosen: Candidate, policy: Policy) -> list[str]:
    """Return why `chosen` was chosen, what weighed most first, what it is expected to come to, and how it will draw."""
    demand, backend = decision.demand, chosen.backend
    words = [_rank(decision, chosen)]
    if demand.model:
        words.append(f"serves the preferred model {demand.model}")
    weighed = policy.weights[demand.objective].items()
    words += [
        f"{name} {chosen.scores[name]:.2f} at weight {weight:g}"
        for name, weight in sorted(weighed, key=lambda item: item[1] * chosen.scores[item[0]], reverse=True)
        if weight
    ]
    words.append(_expectation(demand, chosen))
    if backend.state is State.LOADABLE:
        words.append("loads its model first")
    words.append(_manner(demand, backend) + _aside(backend))
    return words


def _rank(decision: Decision, chosen: Candidate) -> str:
    best, objective = decision.candidates[0], decision.demand.objective
    able = len(decision.candidates)
    if chosen.score >= best.score:
        return f"scores {chosen.score:.2f} for {objective}, best of {able} that could"
    return f"scores {chosen.score:.2f} for {objective}; the best of {able} that could scores {best.score:.2f}"


def _expectation(demand: Demand, chosen: Candidate) -> str:
    backend, (seconds, usd, quality) = chosen.backend, chosen.estimate
    price = f"${usd:.4g}" if usd else "nothing"
    return (
        f"is expected to take {seconds:.1f} ± {backend.deviation(demand):.1f} s, "
        f"to cost {price} and "
        f"to be worth {quality:.2f} ± {backend.quality_deviation(demand):.2f} for {demand.prompt_class}"
    )


def _manner(demand: Demand, backend: BackendView) -> str:
    size = backend.size(demand)
    drawn = f"{size.width} × {size.height}"
    if length := backend.duration(demand):
        return f"makes {length:g} s of {drawn}"
    if not backend.takes_steps:
        return f"draws {drawn} at {demand.tier} quality"
    return f"draws {drawn} in {backend.steps(demand)} steps at guidance scale {backend.guidance(demand):g}"


def _aside(backend: BackendView) -> str:
    """Return what is left aside because the backend takes no such thing."""
    takes = {
        "steps": backend.takes_steps,
        "seeds": backend.takes_seeds,
        "negative prompts": backend.negative_prompts,
    }
    left = [name for name, taken in takes.items() if not taken]
    return f", without {', '.join(left)}" if left else ""
