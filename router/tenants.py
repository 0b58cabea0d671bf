"""Reads `tenants.yaml`: which backends each tenant's requests may be sent to."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints

from router.configuration import Strict, load
from router.demand import Demand

TenantName = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class Policy(Strict):
    """What a tenant may use; what is left out is as in the default, and there everything is allowed."""

    external: bool | None = None
    noncommercial: bool | None = None
    models: Annotated[tuple[str, ...], Field(min_length=1)] | None = None

    def over(self, default: "Policy") -> "Policy":
        """Return this policy with the default's words where it says nothing."""
        said = {name: value for name, value in self if value is not None}
        return default.model_copy(update=said)


class _Document(Strict):
    default: Policy
    tenants: dict[TenantName, Policy]


@dataclass(frozen=True, slots=True)
class Tenants:
    """The policy of every tenant."""

    default: Policy
    named: Mapping[str, Policy]

    def restrict(self, demand: Demand, tenant: str) -> Demand:
        """Return the demand as far as its tenant's policy lets it go."""
        policy = self.named.get(tenant, self.default)
        return replace(
            demand,
            external=policy.external is not False,
            noncommercial=policy.noncommercial is not False,
            allowed=None if policy.models is None else frozenset(policy.models),
        )


def load_tenants(path: Path) -> Tenants:
    """Return the policies of a file. Raises ConfigurationError."""
    document = load(path, _Document)
    named = {name: policy.over(document.default) for name, policy in document.tenants.items()}
    return Tenants(document.default, named)
