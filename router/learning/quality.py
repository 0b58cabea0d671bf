"""How good a backend's pictures are, as a posterior for each class of prompts. Pure.

A verdict on a picture of class c is normal around the class's mean, and the classes' means are normal around the
backend's own, which the entry's prior is the first guess of (the normal hierarchical model; Gelman et al., Bayesian Data
Analysis, 2013, section 5.4). So a class that nobody judged is expected to be as good as the others are, and one that
many judged speaks for itself. Old verdicts fade.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

from router.prompt_class import PromptClass

FADING = 0.998  # weight that a verdict keeps with each one after it: some 500 verdicts are remembered
SCATTER = 0.15  # deviation of a verdict from its class's mean before any was seen
SCATTER_VERDICTS = 8.0  # how many verdicts that first guess is worth
BETWEEN = 0.1  # deviation of the classes' means from the backend's
PRIOR = 0.2  # deviation of the entry's guess


class Posterior(NamedTuple):
    """An expected quality in [0, 1], and the deviation of it: what more verdicts would tell."""

    mean: float
    deviation: float


class QualityView(NamedTuple):
    """What is known of a backend's quality, over all classes and for each of them."""

    overall: Posterior
    classes: Mapping[PromptClass, Posterior]


class Quality:
    """The quality of one backend, learned verdict by verdict; the same verdicts in the same order give the same state."""

    def __init__(self, prior: float) -> None:
        self._prior = prior
        self._counts = dict.fromkeys(PromptClass, 0.0)
        self._sums = dict.fromkeys(PromptClass, 0.0)
        self._verdicts = 0.0
        self._squares = 0.0
        self.view = self._solve()

    def judge(self, prompt_class: PromptClass, quality: float) -> None:
        """Learn from a verdict in [0, 1] on a picture of a class."""
        expected = self.view.classes[prompt_class]
        scatter = self._scatter()
        explained = scatter / (scatter + expected.deviation**2)
        self._verdicts = FADING * self._verdicts + 1.0
        self._squares = FADING * self._squares + explained * (quality - expected.mean) ** 2
        for one in PromptClass:
            self._counts[one] *= FADING
            self._sums[one] *= FADING
        self._counts[prompt_class] += 1.0
        self._sums[prompt_class] += quality
        self.view = self._solve()

    def _scatter(self) -> float:
        """Return the variance of a verdict around its class's mean."""
        first = SCATTER_VERDICTS * SCATTER**2
        return (first + self._squares) / (SCATTER_VERDICTS + self._verdicts)

    def _solve(self) -> QualityView:
        scatter, between = self._scatter(), BETWEEN**2
        weight = 1.0 / PRIOR**2
        total = weight * self._prior
        for one in PromptClass:
            if count := self._counts[one]:
                certainty = 1.0 / (between + scatter / count)
                weight += certainty
                total += certainty * self._sums[one] / count
        mean, variance = total / weight, 1.0 / weight
        classes = {}
        for one in PromptClass:
            count = self._counts[one]
            share = (
                between / (between + scatter / count) if count else 0.0
            )  # how far the class speaks for itself
            own = self._sums[one] / count if count else mean
            left = share * scatter / count if count else between
            classes[one] = _posterior(share * own + (1 - share) * mean, left + (1 - share) ** 2 * variance)
        return QualityView(_posterior(mean, variance), classes)


def _posterior(mean: float, variance: float) -> Posterior:
    return Posterior(min(1.0, max(0.0, mean)), math.sqrt(variance))
