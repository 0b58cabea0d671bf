"""Fixtures that every test may ask for."""

from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, settings

from tests.postgres import database_url, postgres, postgres_url
from tests.prebuild import prebuilding
from tests.triton_fixture import model_repository, triton

__all__ = ["database_url", "model_repository", "postgres", "postgres_url", "triton"]

# A busy machine takes its time over examples, too; they are the same in each run, so that a run says what the last one said.
settings.register_profile(
    "mesh", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("mesh")

WHOLE_SUITE = 2000  # a run of fewer tests builds what it needs itself
_beside = ExitStack()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin to build what the last tests of the whole suite need."""
    if len(session.items) >= WHOLE_SUITE and not session.config.option.collectonly:
        _beside.enter_context(prebuilding())


def pytest_unconfigure() -> None:
    """End what still builds."""
    _beside.close()
