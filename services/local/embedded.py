"""A mesh for one command: the entry point `mesh` of the group `visual_mesh.local`."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from scrollintel.visual.exceptions import MeshUnavailableError
from services.local.mesh import LocalMesh, LocalMeshError, local_mesh
from services.local.settings import ANYWHERE, LocalSettings
from services.local.triton import TritonUnavailableError


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
    except (LocalMeshError, TritonUnavailableError) as error:
        if started:
            raise
        raise MeshUnavailableError(
            f"no mesh runs, and none could be started: {error}", code="UNAVAILABLE"
        ) from error
