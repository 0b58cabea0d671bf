"""Building the repository that Triton serves: code from `model_repository/`, weights from the catalogue's sources.

`<home>/model_repository/<model>` is a link to `<home>/builds/<model>/<digest>`, where the digest covers
everything that goes in. A build is made aside and the link is moved in one step, so a server never sees
half a model, and a model whose digest has not changed is left alone.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from threading import Event

from services.models import operator_weights
from services.models.assemble import VERSION, assemble
from services.models.catalogue import CatalogueError, read_catalogue, write_entry
from services.models.converters import PACKAGE, check_libraries
from services.models.entry import Model, OperatorSource, RepositorySource
from services.models.fingerprint import fingerprint
from services.models.order import Order, derive
from services.models.presence import REPOSITORY, Presence, missing_weights, served_repository
from services.models.sources import exclusive, fetch, package_of
from services.models.state import remedy

PARALLEL_BUILDS = 4
SETTING = "VMESH_MODELS_ALLOW_NONCOMMERCIAL"


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


class Stopped(Exception):  # noqa: N818 - not an error
    """Whoever asked for the build has gone."""


@dataclass(frozen=True)
class Site:
    """Where builds are made, what is allowed there, and who is told."""

    home: Path
    progress: Progress = lambda model, stage: None
    allow_noncommercial: bool = False
    allowed: Collection[str] = ()
    """Models whose licence need not allow commercial use, where that is not said of all."""
    repository: Path = REPOSITORY

    def allows(self, model: Model) -> bool:
        """Whether a model's licence lets it be built here."""
        return model.licence.commercial_use or self.allow_noncommercial or model.name in self.allowed


def build_repository(
    home: Path,
    only: Collection[str] | None = None,
    progress: Progress | None = None,
    *,
    allow_noncommercial: bool = False,
    allowed: Collection[str] = (),
    repository: Path = REPOSITORY,
) -> list[Outcome]:
    """Bring `<home>/model_repository` up to date; blocking, and safe to run from several processes at once.

    Builds the models in `only`, or all but the optional ones. Calls `progress(model, stage)` before each slow stage,
    from worker threads. A model that cannot be built is reported in its outcome, and taken out of the served repository
    if its committed weights are missing; the others are built all the same. Raises CatalogueError, and ValueError for
    a name in `only` that the catalogue does not hold.
    """
    catalogue = read_catalogue(home)
    unknown = set(only or ()) - set(catalogue)
    if unknown:
        raise ValueError(f"no model named {', '.join(sorted(unknown))}; there are: {', '.join(catalogue)}")
    stopped = Event()

    def report(model: str, stage: str) -> None:
        if stopped.is_set():
            raise Stopped
        if progress:
            progress(model, stage)

    site = Site(home, report, allow_noncommercial, allowed, repository)
    wanted = [
        model for model in catalogue.values() if (not model.optional if only is None else model.name in only)
    ]
    # Fetching waits for the network and converting runs in native code, so threads overlap well.
    with ThreadPoolExecutor(PARALLEL_BUILDS) as pool:
        try:
            return list(pool.map(lambda model: build_model(model, site), wanted))
        except BaseException:
            stopped.set()  # each ends at its next stage, and its scratch folder with it
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def build_one(name: str, order: Order, site: Site) -> Outcome:
    """Build one model as ordered; under another name it becomes an entry of this machine's own catalogue.

    Runs in the caller's thread. Raises CatalogueError for a name or an order that cannot be.
    """
    catalogue = read_catalogue(site.home)
    if name not in catalogue:
        raise CatalogueError(f"no model named {name!r}; there are: {', '.join(catalogue)}")
    entry = catalogue[name]
    model = derive(entry, order, catalogue, operator_weights.remembered(entry, site.home))
    weights = order.weights
    if weights is None and model.name != name:
        last = operator_weights.remembered(model, site.home) or operator_weights.remembered(entry, site.home)
        weights = last.weights if last else None
    outcome = build_model(model, site, weights)
    if outcome.served and model.name != name:
        write_entry(model, site.home)
    return outcome


def build_model(model: Model, site: Site, weights: Path | None = None) -> Outcome:
    """Build one model, from `weights` if an operator brings them; waits while another process builds the same one."""
    served_repository(site.home).mkdir(parents=True, exist_ok=True)
    told = lambda: site.progress(model.name, "waiting for another process that builds it")  # noqa: E731
    with exclusive(site.home / "builds" / f".{model.name}.lock", told):
        return _build_locked(model, site, weights)


def _build_locked(model: Model, site: Site, weights: Path | None) -> Outcome:
    home, repository = site.home, site.repository
    link = served_repository(home) / model.name
    if not site.allows(model):
        link.unlink(missing_ok=True)
        detail = (
            f"its licence, {model.licence.spdx}, forbids commercial use; if your use is not commercial, build it with "
            f"--allow-noncommercial or name it in {SETTING}"
        )
        return Outcome(model.name, BuildStatus.REFUSED, detail)
    missing = missing_weights(model, home, repository, weights)
    if missing and package_of(model) is None:
        if isinstance(model.source, RepositorySource):
            link.unlink(
                missing_ok=True
            )  # an operator's stay where they are; a build of them serves without them
        detail = (
            f"{', '.join(missing)} not here: {remedy(model, Presence(built=False, missing=tuple(missing)))}"
        )
        return Outcome(model.name, BuildStatus.NEEDS_WEIGHTS, detail)
    builds = home / "builds" / model.name
    try:
        if isinstance(model.source, OperatorSource):
            check_libraries(model)
            if weights is None:
                last = operator_weights.remembered(model, home)
                assert last, "nothing is missing, so they are remembered"
                weights = last.weights
            site.progress(model.name, "looking at the weights")
            operator_weights.check(model.source, weights, home)
        operator_weights.check_loras(model)
        digest = fingerprint(model, home, repository, weights)
        if link.is_symlink() and link.readlink() == _target(model, digest) and (builds / digest).is_dir():
            _remember(model, weights, home)  # the same files may have moved
            return Outcome(model.name, BuildStatus.UNCHANGED)
        if missing:
            site.progress(model.name, "fetching weights")
        with tempfile.TemporaryDirectory() as empty:
            sources = _sources(model, site, weights) or Path(empty)
            site.progress(model.name, "converting and checking")
            tell = lambda stage: site.progress(model.name, stage)  # noqa: E731
            assemble(model, sources, repository, builds, digest, tell)
    except Stopped:
        raise
    except Exception as error:
        # Our own errors say in their text what to do; of any other the type tells more than the text.
        own = type(error).__module__.startswith(PACKAGE)
        return Outcome(
            model.name, BuildStatus.FAILED, str(error) if own else f"{type(error).__name__}: {error}"
        )
    _publish(link, _target(model, digest))
    _remember(model, weights, home)
    for old in builds.iterdir():
        if old.name != digest:
            shutil.rmtree(old, ignore_errors=True)
    return Outcome(model.name, BuildStatus.BUILT)


def _sources(model: Model, site: Site, weights: Path | None) -> Path | None:
    """Where the files of a model's source lie; None when it has none."""
    if package := package_of(model):
        return fetch(package, site.home)
    if isinstance(model.source, RepositorySource):
        return site.repository / model.template / VERSION
    return weights if isinstance(model.source, OperatorSource) else None


def _remember(model: Model, weights: Path | None, home: Path) -> None:
    if isinstance(model.source, OperatorSource) and weights:
        operator_weights.remember(model, weights, home)


def _target(model: Model, digest: str) -> Path:
    return Path("..") / "builds" / model.name / digest


def _publish(link: Path, target: Path) -> None:
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)


if __name__ == "__main__":
    from services.models.build_command import main

    main()
