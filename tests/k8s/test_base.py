"""The base as it is: what `python tools/check_k8s.py` checks, one test each."""

import pytest

from tools.k8s import schema
from tools.k8s.manifests import Manifests
from tools.k8s.rules import RULES, Rule
from tools.k8s.shape import check_shape, servers


@pytest.mark.parametrize("version", [schema.VERSION, "1.37"])
def test_objects_fit_kubernetes_schemas(manifests: Manifests, version: str) -> None:
    assert [breach for each in manifests.objects for breach in schema.check(each, version)] == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_holds(manifests: Manifests, rule: Rule) -> None:
    assert list(rule(manifests)) == []


def test_manifests_are_the_codes_shape(manifests: Manifests) -> None:
    assert list(check_shape(manifests, servers())) == []
