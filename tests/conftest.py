"""Fixtures that every test may ask for."""

from tests.postgres import database_url, postgres, postgres_url
from tests.triton_fixture import model_repository, triton

__all__ = ["database_url", "model_repository", "postgres", "postgres_url", "triton"]
