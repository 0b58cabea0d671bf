"""The mesh on one machine: started in the order of who calls whom, while Triton loads its models, ended in reverse.

async with local_mesh(LocalSettings(home=folder)) as mesh:
async with VisualClient(mesh.address) as client:
...
"""

import asyncio
import contextlib
import importlib
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from router.configuration import ConfigurationError
from scrollintel.visual import running
from services.local import logs
from services.local.settings import GATEWAY, LocalSettings
from services.local.triton import (
    Triton,
    TritonNotInstalledError,
    TritonSettings,
    TritonUnavailableError,
)
from services.models.build import BuildStatus, build_repository
from services.models.catalogue import CatalogueError, read_catalogue
from services.models.entry import Residency
from services.models.presence import served_repository
from services.runtime.errors import MeshError

Tell = Callable[[str], None]


class LocalMeshError(Exception):
    """The mesh cannot be started; the text says what to do."""


START_ERRORS = (
    LocalMeshError,
    TritonNotInstalledError,
    TritonUnavailableError,
    ConfigurationError,
    MeshError,
)
"""What keeps a mesh from starting and says in its text what to do."""


@dataclass(frozen=True)
class LocalMesh:
    """A mesh that runs in this process."""

    address: str
    """Where its gateway listens."""
    servers: Mapping[str, str]
    """Address of every server by name, the gateway's among them."""
    triton: Triton
    home: Path


@asynccontextmanager
async def local_mesh(settings: LocalSettings, tell: Tell = lambda _: None) -> AsyncIterator[LocalMesh]:
    """Run the whole mesh while the body runs; every server is SERVING when the body starts.

    `tell` is told in a few words what is being done. Raises LocalMeshError when a model that is needed cannot be
    built, TritonNotInstalledError and TritonUnavailableError when there is no Triton or it does not start, and what a
    server's own start raises.
    """
    async with AsyncExitStack() as stack:
        log = stack.enter_context(logs.open_file(settings.home))
        repository = await _models(settings.home, tell)
        tell("loading models")
        pinned = await asyncio.to_thread(_pinned, settings.home)
        triton = await stack.enter_async_context(
            Triton(TritonSettings(settings.home, repository, pinned, grace=settings.triton_grace))
        )
        # Triton loads in its own process for seconds; importing every server takes one or two, and fits into that.
        servers: Any = await asyncio.to_thread(importlib.import_module, "services.local.servers")
        await triton.wait_ready(settings.triton_seconds)
        tell("starting servers")
        addresses = await servers.start(stack, settings, triton, log)
        mesh = LocalMesh(addresses[GATEWAY], addresses, triton, settings.home)
        with _advertised(mesh) if settings.advertise else contextlib.nullcontext():
            yield mesh


async def _models(home: Path, tell: Tell) -> Path:
    """Bring the repository under `home` up to date and return it."""
    tell("checking models")
    loop = asyncio.get_running_loop()

    def progress(model: str, stage: str) -> None:
        loop.call_soon_threadsafe(tell, f"{model}: {stage}")

    try:
        outcomes = await asyncio.to_thread(build_repository, home, progress=progress)
        needed = await asyncio.to_thread(_pinned, home)
    except CatalogueError as error:
        raise LocalMeshError(f"the catalogue cannot be read: {error}") from error
    failed = [outcome for outcome in outcomes if outcome.status is BuildStatus.FAILED]
    for outcome in failed:
        structlog.get_logger().warning(
            "a model could not be built", model=outcome.model, reason=outcome.detail
        )
    if any(outcome.model in needed for outcome in failed):
        told = "; ".join(f"{outcome.model}: {outcome.detail}" for outcome in failed)
        raise LocalMeshError(f"models could not be built ({told}); see `vmesh doctor`")
    return served_repository(home)


def _pinned(home: Path) -> tuple[str, ...]:
    """What Triton loads at its start; the models server brings in the rest when it is wanted."""
    catalogue = read_catalogue(home).values()
    built = served_repository(home)
    return tuple(
        model.name
        for model in catalogue
        if model.residency is Residency.PINNED and (not model.optional or (built / model.name).exists())
    )


@contextlib.contextmanager
def _advertised(mesh: LocalMesh) -> Iterator[None]:
    pid = os.getpid()
    running.write(
        mesh.home,
        running.RunningMesh(
            pid=pid,
            gateway=mesh.address,
            servers=dict(mesh.servers),
            triton=mesh.triton.grpc_address,
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        ),
    )
    try:
        yield
    finally:
        running.remove(mesh.home, pid)
