"""Reads `experiments.yaml`: experiments that are started with the router."""

from collections.abc import Collection, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, ValidationInfo, field_validator, model_validator

from router.configuration import Fault, Strict, load
from router.experiments.experiment import Arm, Guardrails, Metric, Plan, Unit
from router.experiments.rules import LONGEST, MOST_ARMS, breaches, unknown_models

Id = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Days = Annotated[float, Field(gt=0, le=LONGEST.days, allow_inf_nan=False)]
Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False)]
RAILS = Guardrails()


class _Arm(Strict):
    name: Name
    model: Name
    share: Share
    shadow: bool = False


class _Guardrails(Strict):
    error_rate: Share = RAILS.error_rate
    unsafe_rate: Share = RAILS.unsafe_rate
    cost_usd: Dollars = RAILS.cost_usd


class _Entry(Strict):
    id: Id
    unit: Unit = Unit.REQUEST
    metric: Metric = Metric.QUALITY
    days: Days = 7
    arms: Annotated[tuple[_Arm, ...], Field(min_length=2, max_length=MOST_ARMS)]
    guardrails: _Guardrails = _Guardrails()

    @model_validator(mode="after")
    def _keeps_the_rules(self, info: ValidationInfo) -> "_Entry":
        plan = self.plan()
        known: Collection[str] = (info.context or {}).get("models", ())
        for breach in (*breaches(plan), *(breach for _, breach in unknown_models(plan, known))):
            raise Fault(breach.rule, at=breach.path)
        return self

    def plan(self) -> Plan:
        return Plan(
            arms=tuple(Arm(arm.name, arm.model, arm.share, arm.shadow) for arm in self.arms),
            duration=timedelta(days=self.days),
            unit=self.unit,
            metric=self.metric,
            guardrails=Guardrails(**self.guardrails.model_dump()),
        )


class _Document(Strict):
    experiments: tuple[_Entry, ...]

    @field_validator("experiments")
    @classmethod
    def _unique(cls, experiments: tuple[_Entry, ...]) -> tuple[_Entry, ...]:
        seen: set[str] = set()
        for index, entry in enumerate(experiments):
            if entry.id in seen:
                raise Fault(f"two experiments are called {entry.id}", at=(index, "id"))
            seen.add(entry.id)
        return experiments


def load_experiments(path: Path, models: Collection[str]) -> Mapping[str, Plan]:
    """Return the plans of a file by id, whose arms use some of `models`. Raises ConfigurationError."""
    entries = load(path, _Document, models=models).experiments
    return {entry.id: entry.plan() for entry in entries}
