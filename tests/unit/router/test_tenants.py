"""A tenant's requests go only where its policy lets them."""

import pytest

from router.configuration import ConfigurationError
from router.demand import Demand
from router.settings import TENANTS_FILE
from router.tenants import load_tenants


def tenants(tmp_path, text):
    path = tmp_path / "tenants.yaml"
    path.write_text(text)
    return load_tenants(path)


def test_what_ships_allows_everything():
    known = load_tenants(TENANTS_FILE)
    assert known.restrict(Demand(), "local") == Demand()


def test_a_tenant_has_the_default_but_for_what_it_says(tmp_path):
    known = tenants(
        tmp_path,
        """
default: {external: false}
tenants:
  studio: {external: true}
  school: {models: [text_to_image_house], noncommercial: false}
""",
    )
    assert known.restrict(Demand(), "anybody") == Demand(external=False)
    assert known.restrict(Demand(steps=9), "studio") == Demand(steps=9)
    assert known.restrict(Demand(), "school") == Demand(
        external=False, noncommercial=False, allowed=frozenset({"text_to_image_house"})
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "default: {}\ntenants:\n  a: {extern: false}\n",
            r"^tenants\.yaml:3: tenants\.a\.extern: Extra inputs",
        ),
        ("default: {}\ntenants:\n  a:\n    models: []\n", r"^tenants\.yaml:4: tenants\.a\.models"),
        ("tenants: {}\n", "default: Field required"),
    ],
)
def test_a_wrong_policy_is_refused_with_its_line(tmp_path, text, told):
    with pytest.raises(ConfigurationError, match=told):
        tenants(tmp_path, text)
