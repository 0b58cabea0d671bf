"""The models that are built on this machine, as their builds describe themselves."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from services.models.entry import Model
from services.models.presence import served_repository

ENTRY = "entry.json"


def built_models(home: Path) -> Iterator[tuple[Model, Path]]:
    """Yield every built model with the directory of its build, by name; what an older version built is left out."""
    for link in sorted(served_repository(home).glob("[!.]*")):
        build = link.resolve()
        try:
            yield Model.model_validate_json((build / ENTRY).read_bytes()), build
        except (OSError, ValidationError):
            continue


def unknown_builds(home: Path) -> list[str]:
    """Return the names of what Triton is pointed at although no build says what it is: damaged, or an older version's."""
    known = {model.name for model, _ in built_models(home)}
    return sorted({link.name for link in served_repository(home).glob("[!.]*")} - known)


def build_of(name: str, home: Path) -> Path | None:
    """Return the directory of a model's build; None when it is not built."""
    build = (served_repository(home) / name).resolve()
    return build if (build / "config.pbtxt").is_file() else None
