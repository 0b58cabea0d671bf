"""The mesh that runs on this machine: the file in which `vmesh up` says where it is, and whether it answers.

The file is `mesh.json` in the mesh's home (`$VMESH_HOME`, else `~/.visual-mesh`). It is written when every server
answers and removed on the way out; one left behind by a process that is gone is taken for none.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc

FILE = "mesh.json"
HEALTH_SECONDS = 2.0
SERVING = b"\x08\x01"
"""grpc.health.v1.HealthCheckResponse{status: SERVING}: one field, so no generated code is needed to read it."""


@dataclass(frozen=True, slots=True)
class RunningMesh:
    """Where a mesh's servers are."""

    pid: int
    """The process that holds them all."""
    gateway: str
    """Address of the door."""
    servers: Mapping[str, str]
    """Address of every server by name, the gateway's among them."""
    triton: str
    """Address of Triton's gRPC port."""
    started_at: str
    """ISO 8601, UTC."""


def default_home() -> Path:
    """Return the folder for everything that is kept."""
    return Path(os.environ.get("VMESH_HOME") or Path.home() / ".visual-mesh").expanduser()


def read(home: Path) -> RunningMesh | None:
    """Return the mesh that runs from `home`, or None when the file is absent, damaged or its process gone."""
    try:
        told = json.loads((home / FILE).read_text())
        mesh = RunningMesh(**told)
        return mesh if _alive(mesh.pid) else None
    except (OSError, ValueError, TypeError, OverflowError):
        return None


def write(home: Path, mesh: RunningMesh) -> None:
    """Say where a mesh is; a reader sees the old file or the new one, never a half."""
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=home, prefix=FILE, delete=False) as file:
        json.dump(asdict(mesh), file, indent=2)
    Path(file.name).replace(home / FILE)


def remove(home: Path, pid: int) -> None:
    """Remove the file when it is this process's own."""
    mesh = read(home)
    if mesh and mesh.pid == pid:
        with contextlib.suppress(FileNotFoundError):
            (home / FILE).unlink()


async def health(address: str, service: str = "", timeout: float = HEALTH_SECONDS) -> bool | None:
    """Return whether a server says that it, or one of its services, is serving; None when it does not answer."""
    async with grpc.aio.insecure_channel(address) as channel:
        return await health_over(channel, service, timeout)


async def health_over(
    channel: grpc.aio.Channel, service: str = "", timeout: float = HEALTH_SECONDS
) -> bool | None:
    """As `health`, over an open channel."""
    name = service.encode()
    request = b"\x0a" + bytes([len(name)]) + name if name else b""
    check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
    try:
        return bool(await check(request, timeout=timeout) == SERVING)
    except grpc.aio.AioRpcError as error:
        return (
            None
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            else False
        )


def _alive(pid: int) -> bool:
    if pid <= 0:  # to kill(2) a group, or every process there is
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
