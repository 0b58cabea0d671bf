"""What of a model lies on this machine's disk: its weights, and a build of it."""

from dataclasses import dataclass
from pathlib import Path

from services.models import operator_weights
from services.models.entry import Layout, Model, OperatorSource, RepositorySource
from services.models.sources import is_fetched, package_of

REPOSITORY = Path(__file__).parents[2] / "model_repository"


@dataclass(frozen=True)
class Presence:
    """Whether the served repository holds a model, and which of its weights are not here."""

    built: bool
    missing: tuple[str, ...] = ()


def served_repository(home: Path) -> Path:
    """What Triton is pointed at."""
    return home / "model_repository"


def presence(model: Model, home: Path) -> Presence:
    """Look at the disk for a model."""
    built = (served_repository(home) / model.name / "config.pbtxt").is_file()
    return Presence(built, tuple(missing_weights(model, home)))


def missing_weights(
    model: Model, home: Path, repository: Path = REPOSITORY, weights: Path | None = None
) -> list[str]:
    """Files of the model's weights that are not there yet; a package's can be fetched, others cannot.

    For an operator's model these are the files that it names, or what its layout is called, unless `weights` or the
    place where they were the last time is there.
    """
    source, package = model.source, package_of(model)
    if package:
        return [] if is_fetched(package, home) else [file.path for file in package.files]
    if isinstance(source, RepositorySource):
        own = repository / model.template
        return [file.path for file in source.files if not (own / file.path).is_file()]
    if isinstance(source, OperatorSource) and not (weights or operator_weights.remembered(model, home)):
        whole = "a checkpoint" if source.layout is Layout.CHECKPOINT else "a diffusers directory"
        return [file.path for file in source.files] or [f"{whole} of {source.hub}"]
    return []
