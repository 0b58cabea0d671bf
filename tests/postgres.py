"""Databases to test on: a real PostgreSQL, once per test session, and SQLite files."""

from collections.abc import Iterator
from itertools import count
from tempfile import TemporaryDirectory

import pytest

from tools.postgres import Postgres, quick_folder, running

_numbers = count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL that runs for the session, shared: who stops it starts it again."""
    with running() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """The address of an empty database of this test."""
    name = f"test{next(_numbers)}"
    yield postgres.create(name)
    postgres.drop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of an empty database; the test runs on SQLite and again on PostgreSQL."""
    if request.param == "postgresql":
        yield request.getfixturevalue("postgres_url")
        return
    with TemporaryDirectory(prefix="sqlite-", dir=quick_folder()) as folder:
        yield f"sqlite:///{folder}/test.sqlite"
