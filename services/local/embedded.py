"""A mesh for one command: the entry point `mesh` of the group `visual_mesh.local`."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from scrollintel.visual.exceptions import MeshUnavailableError
from services.local import logs
from services.local.mesh import START_ERRORS, LocalMesh, local_mesh
from services.local.settings import ANYWHERE, LocalSettings


@asynccontextmanager
async def mesh(*, home: Path, tell: Callable[[str], None]) -> AsyncIterator[LocalMesh]:
    """Run a mesh that nobody else finds while the body runs.

    Raises MeshUnavailableError when it cannot be started; its message says what to do.
    """
    started = False
    # Nothing is under way when the command ends, so nothing is waited for.
    settings = LocalSettings(home=home, listen=ANYWHERE, advertise=False, triton_grace=0)
    try:
        async with local_mesh(settings, lambda text: tell(f"starting a mesh: {text}")) as running:
            started = True
            yield running
    except Exception as error:
        if started:
            raise
        told = str(error) if isinstance(error, START_ERRORS) else f"{type(error).__name__}: {error}"
        raise MeshUnavailableError(
            f"no mesh runs, and none could be started: {told} (log: {logs.path(home)})", code="UNAVAILABLE"
        ) from error
