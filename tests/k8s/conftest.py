"""The committed rendering, read once (it is refused when it is behind its sources), and a copy to break for each test."""

import copy

import pytest

from tools.k8s import render
from tools.k8s.manifests import Manifests


@pytest.fixture(scope="session")
def manifests() -> Manifests:
    return Manifests(tuple(render.read()))


@pytest.fixture
def broken(manifests: Manifests) -> Manifests:
    return copy.deepcopy(manifests)
