"""Reads `weights.yaml` into the policy that decisions are made by."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from router.configuration import Fault, Strict, load
from router.decision import Exploration, Policy
from router.demand import Objective
from router.scorers import SCORERS, Scales

SUM_TOLERANCE = 1e-6  # decimal fractions do not sum to 1 exactly

Weight = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Scales(Strict):
    half_score_seconds: Positive
    half_score_usd: Positive


class _Exploration(Strict):
    share: Weight
    stake: Weight
    reserve: Annotated[float, Field(ge=0, le=1000)]


class _Weights(Strict):
    objectives: dict[Objective, dict[str, Weight]]
    scales: _Scales
    exploration: _Exploration

    @field_validator("objectives")
    @classmethod
    def _complete(cls, objectives: dict[Objective, dict[str, float]]) -> dict[Objective, dict[str, float]]:
        if missing := set(Objective) - set(objectives):
            raise ValueError(f"must give weights for {', '.join(sorted(missing))} too")
        for objective, weights in objectives.items():
            for name in weights:
                if name not in SCORERS:
                    message = f"no scorer is called {name}; there are {', '.join(SCORERS)}"
                    raise Fault(message, at=(objective, name))
            if abs(sum(weights.values()) - 1) > SUM_TOLERANCE:
                message = f"the weights must sum to 1, not to {sum(weights.values()):g}"
                raise Fault(message, at=(objective,))
        return objectives


def load_policy(path: Path) -> Policy:
    """Return the policy of a weights file. Raises ConfigurationError."""
    document = load(path, _Weights)
    return Policy(
        document.objectives,
        Scales(**document.scales.model_dump()),
        Exploration(**document.exploration.model_dump()),
    )
