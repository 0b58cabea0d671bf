"""Whether a model can be used, from what Triton says and what lies on the disk."""

from collections.abc import Mapping, Sequence
from enum import Enum, auto

from services.models.entry import Model, NpmSource, OperatorSource, PackageSource

TRITON_READY = "READY"


class State(Enum):
    """How far a model is from answering."""

    READY = auto()
    LOADABLE = auto()
    NEEDS_WEIGHTS = auto()


def state_of(model: Model, index: Mapping[str, str], missing: Sequence[str]) -> tuple[State, str]:
    """Return a model's state, and what to do when its weights are missing (empty otherwise).

    `index` is Triton's repository index, empty when Triton does not answer; `missing` names the weight files that are
    not here. A model that Triton serves is ready wherever its weights are.
    """
    if index.get(model.name) == TRITON_READY:
        return State.READY, ""
    if not missing:
        return State.LOADABLE, ""
    build = f"vmesh models build {model.name}"
    if isinstance(model.source, PackageSource | NpmSource):
        return State.NEEDS_WEIGHTS, build
    if isinstance(model.source, OperatorSource):
        return State.NEEDS_WEIGHTS, f"{build} --weights PATH (published as {model.source.hub})"
    return State.NEEDS_WEIGHTS, f"train and export it (models/house/README.md), then {build}"
