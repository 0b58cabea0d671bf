"""A build's manifest: the SHA-256 of every file in it, written when it is made and held against it later."""

import json
from pathlib import Path

from services.models.digests import sha256_file

NAME = "manifest.json"


class ManifestError(Exception):
    """A build has no readable manifest; it has to be built again."""


def write(build: Path) -> None:
    """List every file of a build."""
    files = {name: sha256_file(build / name) for name in _files(build)}
    (build / NAME).write_text(json.dumps({"sha256": files}, indent=2) + "\n", encoding="utf-8")


def read(build: Path) -> dict[str, str]:
    """Return the digests that were written, by path. Raises ManifestError."""
    try:
        files: dict[str, str] = json.loads((build / NAME).read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{build.name}: {NAME} cannot be read: {error}; build the model again") from error
    return files


def check(build: Path) -> list[str]:
    """Return what is wrong with a build's files, each as one line; empty when they are as they were made.

    Engines and other things that came later are no fault. Raises ManifestError.
    """
    problems = []
    for name, wanted in sorted(read(build).items()):
        path = build / name
        if not path.is_file():
            problems.append(f"{name}: is missing")
        elif sha256_file(path) != wanted:
            problems.append(f"{name}: is not the file that was built")
    return problems


def _files(build: Path) -> list[str]:
    return sorted(
        str(path.relative_to(build)) for path in build.rglob("*") if path.is_file() and path.name != NAME
    )
