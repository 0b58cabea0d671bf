"""Who calls whom decides what starts when."""

from graphlib import CycleError
from pathlib import Path

import pytest

from services.local.directory import Entry, layers
from services.local.servers import ENTRIES
from services.local.settings import GATEWAY
from services.runtime.server import ServerSpec
from services.runtime.settings import ServerSettings, env


def entry(name: str, *calls: str) -> Entry:
    fields = {f"{called}_address": str for called in calls}
    settings = type("Settings", (ServerSettings,), {"__annotations__": fields, "model_config": env(name)})
    return Entry(name, settings, lambda chosen: ServerSpec(name, chosen, [], None, None))  # type: ignore[arg-type]


def names(found: list[list[Entry]]) -> list[list[str]]:
    return [[one.name for one in layer] for layer in found]


def test_a_server_starts_after_those_it_calls_and_beside_those_it_does_not():
    entries = [
        entry("door", "life", "store"),
        entry("life", "store", "triton"),
        entry("store"),
        entry("other", "triton"),
    ]
    assert names(layers(entries)) == [["other", "store"], ["life"], ["door"]]


def test_a_circle_is_refused():
    with pytest.raises(CycleError):
        layers([entry("one", "other"), entry("other", "one")])


def test_a_server_that_there_is_not_is_named():
    with pytest.raises(ValueError, match="no server is called elsewhere"):
        layers([entry("one", "elsewhere")])


def test_settings_are_wired_and_the_chosen_ones_win():
    spec = entry("life", "store").describe(
        Path("/home"), "127.0.0.1:0", {"store": "127.0.0.1:7", "not_asked": "x"}, {"grace_seconds": 1.5}
    )
    settings = spec.settings
    assert (settings.home, settings.listen, settings.store_address) == (
        Path("/home"),
        "127.0.0.1:0",
        "127.0.0.1:7",
    )
    assert settings.grace_seconds == 1.5


def test_the_mesh_starts_with_what_calls_nobody_and_ends_with_the_door():
    found = names(layers(ENTRIES))
    assert "assets" in found[0]
    assert found[-1] == [GATEWAY]
    assert found[-2] == ["orchestrator", "usage"]
    assert "router" in found[-3]
