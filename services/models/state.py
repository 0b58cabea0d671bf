"""Whether a model can be used, from what Triton says and what lies on the disk; and what to do when it cannot."""

from collections.abc import Mapping
from enum import Enum, auto
from pathlib import PurePosixPath

from services.models.entry import Layout, Model, OperatorSource, RepositorySource
from services.models.presence import Presence
from services.models.sources import package_of
from services.models.weights import SUFFIXES

TRITON_READY = "READY"


class State(Enum):
    """How far a model is from answering."""

    READY = auto()
    LOADABLE = auto()
    NOT_BUILT = auto()
    NEEDS_WEIGHTS = auto()


def state_of(model: Model, index: Mapping[str, str], here: Presence) -> tuple[State, str]:
    """Return a model's state, and what to do when it is not built (empty otherwise).

    `index` is Triton's repository index, empty when Triton does not answer. A model that Triton serves is ready wherever
    its weights are; one that is built can be loaded; weights that an index of packages has count as being here.
    """
    if index.get(model.name) == TRITON_READY:
        return State.READY, ""
    if here.built:
        return State.LOADABLE, ""
    lacks = here.missing and package_of(model) is None
    return State.NEEDS_WEIGHTS if lacks else State.NOT_BUILT, remedy(model, here)


def remedy(model: Model, here: Presence) -> str:
    """Return the command that builds a model, and where weights that it lacks come from."""
    command = f"vmesh models build {model.name}"
    if not model.licence.commercial_use:
        command += " --allow-noncommercial"
    if not here.missing:
        return command
    if isinstance(model.source, OperatorSource):
        placeholder = "FILE" if model.source.layout is Layout.CHECKPOINT else "DIR"
        return f"{command} --weights {placeholder}   # {placeholder}: {origin(model.source)}"
    if isinstance(model.source, RepositorySource):
        return f"train and export it (models/house/README.md), then {command}"
    return command


def origin(source: OperatorSource) -> str:
    """Return where an operator's weights are published, and how to fetch them."""
    if source.hub.startswith("https://"):
        is_file = PurePosixPath(source.hub).suffix in SUFFIXES
        return f"curl --location --remote-name {source.hub}" if is_file else f"published at {source.hub}"
    files = [file.path for file in source.files] if source.layout is Layout.CHECKPOINT else []
    return " ".join(["hf download", source.hub, *files, "--local-dir", "." if files else "DIR"])
