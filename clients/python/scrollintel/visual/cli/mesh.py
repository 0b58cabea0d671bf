"""Which mesh a command speaks to: the one that was named, the one that runs here, or one started for this command."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Protocol

import typer

from scrollintel.visual import running
from scrollintel.visual.exceptions import MeshUnavailableError

LOCAL = "visual_mesh.local"

Address = Annotated[
    str | None,
    typer.Option(
        help="Address of a mesh's gateway; left out, the mesh that runs on this machine.",
        envvar="VMESH_ADDRESS",
    ),
]
Home = Annotated[
    Path | None,
    typer.Option(
        help="Folder for everything that is kept.", envvar="VMESH_HOME", show_default="~/.visual-mesh"
    ),
]


def folder(home: Path | None) -> Path:
    """Return the folder for everything that is kept."""
    return home.expanduser() if home else running.default_home()


class Started(Protocol):
    """A mesh that was started for this command."""

    @property
    def address(self) -> str:
        """Address of its gateway."""
        ...


class Starter(Protocol):
    """Starts a mesh in this process; what the entry point `mesh` of the group `visual_mesh.local` gives."""

    def __call__(self, *, home: Path, tell: Callable[[str], None]) -> AbstractAsyncContextManager[Started]:
        """Return a mesh that runs while its context is open; `tell` is told in a few words what is being done."""
        ...


async def find(address: str | None, home: Path) -> str | None:
    """Return the address of a mesh that answers, or None.

    Raises:
        MeshUnavailableError: an address was given and nothing there is serving.
    """
    if address:
        if not await running.health(address):
            raise MeshUnavailableError(f"no mesh answers at {address}", code="UNAVAILABLE")
        return address
    mesh = running.read(home)
    return mesh.gateway if mesh and await running.health(mesh.gateway) else None


async def require(address: str | None, home: Path) -> str:
    """As `find`, for a command that starts no mesh.

    Raises:
        MeshUnavailableError: no mesh answers.
    """
    found = await find(address, home)
    if found is None:
        raise MeshUnavailableError("no mesh runs on this machine", code="UNAVAILABLE")
    return found


@asynccontextmanager
async def find_or_start(
    address: str | None, home: Path, tell: Callable[[str], None]
) -> AsyncIterator[tuple[str, bool]]:
    """Yield the address of a mesh and whether it was started for this command, which ends it.

    Raises:
        MeshUnavailableError: none answers and none can be started: only the client is installed.
    """
    found = await find(address, home)
    if found is not None:
        yield found, False
        return
    starter = next(iter(entry_points(group=LOCAL, name="mesh")), None)
    if starter is None:
        raise MeshUnavailableError(
            "no mesh runs on this machine, and only the client is installed; name one with --address",
            code="UNAVAILABLE",
        )
    start: Starter = starter.load()
    async with start(home=home, tell=tell) as mesh:
        yield mesh.address, True


def servers(door: str, home: Path) -> dict[str, str]:
    """Return the addresses of a mesh's servers by name; of one that runs elsewhere only the door is known."""
    local = running.read(home)
    return dict(local.servers) if local and local.gateway == door else {"gateway": door}
