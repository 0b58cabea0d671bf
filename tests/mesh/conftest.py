"""The whole mesh on real ports with the real Triton, once for all tests of this folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from scrollintel.visual import VisualClient
from services.local.mesh import LocalMesh, local_mesh
from services.local.settings import ANYWHERE, LocalSettings

# Room for the ten callers of one test, so that the hundred of another fill it and the rest is refused.
WAITING = 16
RUNNING = 4
PATIENT_SECONDS = 20  # for what the tests want an answer to, however busy the machine
CHECKS = ("nsfw_seconds", "violence_seconds", "writing_seconds", "works_seconds", "picture_seconds")


def home_with_models(folder: Path, model_repository: Path) -> Path:
    """Return a new home of a mesh with the models that are built already; building is tests/models' to try."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("model_repository", "builds", "weights"):
        (folder / name).symlink_to(model_repository.parent / name)
    return folder


@pytest.fixture(scope="session")
def mesh_home(tmp_path_factory: pytest.TempPathFactory, model_repository: Path) -> Path:
    return home_with_models(tmp_path_factory.mktemp("mesh"), model_repository)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def mesh(mesh_home: Path) -> AsyncIterator[LocalMesh]:
    settings = LocalSettings(
        home=mesh_home,
        listen=ANYWHERE,
        servers={
            "orchestrator": {"running": RUNNING, "waiting": WAITING, "check_seconds": 3 * PATIENT_SECONDS},
            "prompt": {"templates_seconds": PATIENT_SECONDS},
            "safety": dict.fromkeys(CHECKS, 2 * PATIENT_SECONDS),
        },
    )
    async with local_mesh(settings) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def client(mesh: LocalMesh) -> AsyncIterator[VisualClient]:
    async with VisualClient(mesh.address) as connected:
        yield connected
