"""Fixtures that every test may ask for."""

from tests.triton_fixture import model_repository, triton

__all__ = ["model_repository", "triton"]
