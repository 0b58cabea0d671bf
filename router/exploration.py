"""Now and then a backend is tried that is not the best known, where little is known of it. Pure but for its purse.

Thompson sampling (Thompson, 1933; Russo et al., A Tutorial on Thompson Sampling, 2018): each candidate's quality and
seconds are drawn from what is believed of them, and the best draw is picked, so a backend is tried as often as it may be
the best. What trying gives up is paid from a purse, into which every request puts a small share of its score: learning
costs callers that share at most, however many backends are new.
"""

from random import Random

from router.decision import Candidate, Decision, Policy


class Explorer:
    """Picks candidates, and keeps the purse."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.purse = 0.0

    def pick(self, decision: Decision, rng: Random) -> tuple[Candidate, str] | None:
        """Pick the best candidate, or one to learn from and why in words; None when every backend was refused.

        Whoever names a model gets it, and a request that has failed once gets the best of the rest. The same decisions
        and draws of `rng` give the same picks.
        """
        if not decision.candidates:
            return None
        best, demand = decision.candidates[0], decision.demand
        if demand.model or demand.tried:
            return best, ""
        rules = self._policy.exploration
        self.purse = min(rules.reserve, self.purse + rules.share * best.score)
        stake = min(rules.stake, self.purse)
        drawn = max(self._affordable(decision, stake), key=lambda one: self._draw(one, decision, rng))
        if drawn is best:
            return best, ""
        given_up = best.score - drawn.score
        self.purse -= given_up
        return drawn, f"tried to learn how well it does; gives up {given_up:.3f} on {best.backend.name}"

    def _affordable(self, decision: Decision, stake: float) -> list[Candidate]:
        """Return the candidates, best first, that give up no more than `stake`."""
        least = decision.candidates[0].score - stake
        affordable = []
        for candidate in decision.candidates:
            if candidate.score < least:
                break
            affordable.append(candidate)
        return affordable

    def _draw(self, candidate: Candidate, decision: Decision, rng: Random) -> float:
        """Return the score of a candidate if its quality and seconds were one of those that are believed possible."""
        demand, backend, scores = decision.demand, candidate.backend, candidate.scores
        weights = self._policy.weights[demand.objective]
        quality = backend.expected_quality(demand) + rng.gauss() * backend.quality_deviation(demand)
        seconds = backend.seconds(demand) + rng.gauss() * backend.doubt(demand)
        half = self._policy.scales.half_score_seconds
        changes = {
            "quality": min(1.0, max(0.0, quality)) - scores["quality"],
            "latency": half / (half + max(0.0, seconds)) - scores["latency"],
        }
        return candidate.score + sum(weights.get(name, 0.0) * change for name, change in changes.items())
