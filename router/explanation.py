"""A decision in words, for the event that tells the caller who draws and why. Pure."""

from router.decision import Candidate, Decision, Policy
from router.snapshot import State


def reasons(decision: Decision, chosen: Candidate, policy: Policy) -> list[str]:
    """Return why `chosen` was chosen, what weighed most first, and how it will draw."""
    demand, backend = decision.demand, chosen.backend
    considered = len(decision.candidates) + len(decision.refusals)
    words = [f"scores {chosen.score:.2f} for {demand.objective}, best of {considered} considered"]
    if demand.model:
        words.append(f"serves the preferred model {demand.model}")
    weighed = policy.weights[demand.objective].items()
    words += [
        f"{name} {chosen.scores[name]:.2f} at weight {weight:g}"
        for name, weight in sorted(weighed, key=lambda item: item[1] * chosen.scores[item[0]], reverse=True)
        if weight
    ]
    if backend.state is State.LOADABLE:
        words.append("loads its model first")
    aside = "" if backend.negative_prompts else ", without negative prompts"
    size = backend.size(demand)
    words.append(
        f"draws {size.width} × {size.height} in {backend.steps(demand)} steps "
        f"at guidance scale {backend.guidance(demand):g}{aside}"
    )
    return words
