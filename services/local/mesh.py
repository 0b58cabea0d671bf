"""The mesh on one machine: started in the order of who calls whom, while Triton loads its models, ended in reverse.

async with local_mesh(LocalSettings(home=folder)) as mesh:
    async with VisualClient(mesh.address) as client:
        ...
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from scrollintel.visual import running
from services.local import directory
from services.local.directory import GATEWAY, TRITON, Entry
from services.local.hosting import Hosted
from services.local.settings import LocalSettings
from services.local.triton import Triton, TritonSettings
from services.models.build import BuildStatus, build_repository, served_repository

Tell = Callable[[str], None]

ANYWHERE = "127.0.0.1:0"


class LocalMeshError(Exception):
    """The mesh cannot be started; the text says what to do."""


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
    built, TritonUnavailableError when Triton does not start, and what a server's own start raises.
    """
    # Triton loads in its own process for seconds; the imports of every server fit into that.
    importing = asyncio.create_task(asyncio.to_thread(directory.load))
    async with AsyncExitStack() as stack:
        repository = settings.repository or await _models(settings.home, tell)
        tell("loading models")
        triton = await stack.enter_async_context(Triton(TritonSettings(settings.home, repository)))
        await triton.wait_ready(settings.triton_seconds)
        tell("starting servers")
        entries = await importing
        addresses = {TRITON: triton.grpc_address}
        for layer in directory.layers(entries):
            hosts = [Hosted(entry.describe(*_described(entry, settings, addresses))) for entry in layer]
            async with asyncio.timeout(settings.server_seconds):
                await _enter_all(stack, hosts)
            addresses |= {host.name: host.address for host in hosts}
        del addresses[TRITON]
        mesh = LocalMesh(addresses[GATEWAY], addresses, triton, settings.home)
        with _advertised(mesh) if settings.advertise else contextlib.nullcontext():
            yield mesh


def _described(
    entry: Entry, settings: LocalSettings, addresses: Mapping[str, str]
) -> tuple[Path, str, Mapping[str, str], Mapping[str, object]]:
    listen = free_or_any(settings.listen) if entry.name == GATEWAY else ANYWHERE
    return settings.home, listen, addresses, settings.servers.get(entry.name, {})


async def _enter_all(stack: AsyncExitStack, hosts: list[Hosted]) -> None:
    """Start servers side by side; when one fails the others end, and its error is raised."""
    results = await asyncio.gather(*(host.__aenter__() for host in hosts), return_exceptions=True)
    for host, result in zip(hosts, results, strict=True):
        if not isinstance(result, BaseException):
            stack.push_async_exit(host)
    for result in results:
        if isinstance(result, BaseException):
            raise result


def free_or_any(listen: str) -> str:
    """Return an address to listen on: the one given, or any port of the same host when it is taken."""
    host, _, port = listen.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError:
            return f"{host}:0"
    return listen


async def _models(home: Path, tell: Tell) -> Path:
    """Bring the repository under `home` up to date and return it."""
    tell("checking models")
    loop = asyncio.get_running_loop()

    def progress(model: str, stage: str) -> None:
        loop.call_soon_threadsafe(tell, f"{model}: {stage}")

    outcomes = await asyncio.to_thread(build_repository, home, progress=progress)
    failed = [outcome for outcome in outcomes if outcome.status is BuildStatus.FAILED]
    if failed:
        told = "; ".join(f"{outcome.model}: {outcome.detail}" for outcome in failed)
        raise LocalMeshError(f"models could not be built ({told}); see `vmesh doctor`")
    return served_repository(home)


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
