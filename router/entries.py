"""Reads `backends.yaml`: which backends there are, what each can do, and what is known of it before it ever ran."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from router.configuration import Strict, load
from router.demand import Modality, Tier
from router.sizes import Size

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+/[a-z0-9][a-z0-9._-]{0,63}$")]
ModelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Defaults(Strict):
    """What a request takes that names neither: denoising steps and guidance scale."""

    steps: Annotated[int, Field(ge=1)]
    guidance_scale: Annotated[Finite, Field(ge=0, le=30)]


class Limits(Strict):
    """The most a request may ask for."""

    steps: Annotated[int, Field(ge=1, le=1000)]
    images: Annotated[int, Field(ge=1, le=16)]


class Prior(Strict):
    """What is expected before anything was observed: quality in [0, 1], seconds per step and image as measured."""

    quality: Annotated[Finite, Field(ge=0, le=1)]
    seconds_per_step: Annotated[Finite, Field(gt=0)]


class BackendEntry(Strict):
    """One backend. `requires` names the models that its model calls; `price_usd` is per image.

    `sizes` are what its pictures may have; a model with one size is not told it. An `on_demand` model need not be
    loaded: it is leased from the model server, which loads it. One that goes `by_name` is for those who ask for it alone.
    `negative_prompts` is false for a model that negative prompts draw away from the prompt; it is given none.
    `remedy` tells what to do where weights are missing.
    """

    name: Name
    kind: Literal["triton"]
    model: ModelName
    modality: Modality
    requires: tuple[ModelName, ...] = ()
    remedy: Annotated[str, Field(min_length=1)]
    defaults: Defaults
    tiers: dict[Tier, Annotated[Finite, Field(gt=0, le=10)]]
    limits: Limits
    sizes: Annotated[tuple[Size, ...], Field(min_length=1)]
    on_demand: bool = False
    by_name: bool = False
    concurrency: Annotated[int, Field(ge=1, le=1024)]
    queue: Annotated[int, Field(ge=0, le=10_000)]
    negative_prompts: bool = True
    price_usd: Annotated[Finite, Field(ge=0)] = 0.0
    prior: Prior

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.defaults.steps > self.limits.steps:
            raise ValueError(
                f"defaults.steps {self.defaults.steps} is more than limits.steps {self.limits.steps}"
            )
        if missing := set(Tier) - set(self.tiers):
            raise ValueError(f"tiers must hold {', '.join(sorted(missing))} too")
        return self

    def steps_by_tier(self) -> dict[Tier, int]:
        """Return the steps of each tier: the default scaled, at least 1 and at most the limit."""
        steps, most = self.defaults.steps, self.limits.steps
        return {tier: min(most, max(1, round(steps * share))) for tier, share in self.tiers.items()}


class _Document(Strict):
    backends: tuple[BackendEntry, ...]

    @field_validator("backends")
    @classmethod
    def _unique(cls, backends: tuple[BackendEntry, ...]) -> tuple[BackendEntry, ...]:
        if not backends:
            raise ValueError("must hold at least one backend")
        names = [entry.name for entry in backends]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two backends are called {', '.join(twice)}")
        return backends


def load_entries(path: Path) -> tuple[BackendEntry, ...]:
    """Return the backends of a file, by name. Raises ConfigurationError."""
    return tuple(sorted(load(path, _Document).backends, key=lambda entry: entry.name))


def load_entry(path: Path) -> BackendEntry:
    """Return the backend of a file that holds one. Raises ConfigurationError."""
    return load(path, BackendEntry)
