"""The real Triton with the built models, once per test session. Import the fixtures into a conftest.

Builds are kept between sessions in the user's cache directory: the first session downloads about 120 MB
of wheels, later ones find everything built and start in seconds.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from services.local.triton import Triton, TritonSettings
from services.models.build import BuildStatus, build_repository
from services.models.presence import served_repository

BUILD_HOME = Path.home() / ".cache" / "visual-mesh" / "tests"


@pytest.fixture(scope="session")
def model_repository() -> Path:
    """The built repository; fails with the builder's own words when a model could not be built."""
    failed = [outcome for outcome in build_repository(BUILD_HOME) if outcome.status is BuildStatus.FAILED]
    assert not failed, failed
    return served_repository(BUILD_HOME)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def triton(model_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Triton]:
    """A ready, supervised Triton that serves every built model."""
    async with Triton(TritonSettings(tmp_path_factory.mktemp("triton"), model_repository)) as server:
        await server.wait_ready(60)
        yield server
