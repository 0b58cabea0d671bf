"""The face restoration networks with random weights, narrow: built where every test's models are, once."""

from pathlib import Path

from services.models.build import build_repository
from tests.triton_fixture import BUILD_HOME

GFPGAN = "face_restoration_gfpgan-test"
CODEFORMER = "face_restoration_codeformer-test"


def build(*names: str) -> Path:
    """Build some of them and return the home they are in; a minute for both the first time."""
    outcomes = build_repository(BUILD_HOME, names)
    assert all(outcome.served for outcome in outcomes), outcomes
    return BUILD_HOME
