"""Built models become backends by the entry that lies beside them, while the router runs."""

import asyncio
import shutil
from contextlib import asynccontextmanager

import pytest
import yaml

from router.discovery import Discovery, discovering, read
from router.fleet import Fleet
from router.probing import probing
from router.snapshot import State
from services.runtime.errors import MeshError
from tests.unit.router.scripted import ScriptedBackend, entry

NEVER = 3600.0  # seconds


def write(repository, model, **changes):
    folder = repository / model
    folder.mkdir(parents=True, exist_ok=True)
    text = entry(model, **changes).model_dump_json()
    (folder / "backend.yaml").write_text(text)  # JSON is YAML
    return folder


@asynccontextmanager
async def following(repository, *, interval=0.002):
    fleet = Fleet.of([entry("built-in")], ScriptedBackend)
    async with probing(fleet, 0.002, 1) as probes:
        discovery = Discovery(repository, ["triton/built-in"], fleet, ScriptedBackend, probes, nothing)
        async with discovering(discovery, interval):
            yield fleet


async def nothing(_name):
    """Nothing is remembered of any backend."""


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)


def names(fleet):
    return [view.name for view in fleet.snapshot().backends]


async def test_what_is_there_is_in_service_from_the_start(tmp_path):
    write(tmp_path, "zeta")
    write(tmp_path, "alpha")
    async with following(tmp_path) as fleet:
        assert names(fleet) == ["triton/alpha", "triton/built-in", "triton/zeta"]
        assert {view.state for view in fleet.snapshot().backends} == {State.READY}


async def test_a_model_comes_changes_and_goes_while_the_router_runs(tmp_path):
    async with following(tmp_path / "not-there-yet") as fleet:
        folder = write(tmp_path / "not-there-yet", "alpha")
        await until(lambda: "triton/alpha" in names(fleet))
        write(tmp_path / "not-there-yet", "alpha", concurrency=7)
        await until(lambda: fleet.members["triton/alpha"].entry.concurrency == 7)
        async with fleet.turn("triton/alpha") as member:
            shutil.rmtree(folder)
            await until(lambda: names(fleet) == ["triton/built-in"])
            assert member.admission.active == 1, "what runs there runs on"
        assert names(fleet) == ["triton/built-in"]
        with pytest.raises(MeshError, match="taken out of service"):
            async with fleet.turn("triton/alpha"):
                pass


async def test_a_drained_model_stays_drained_when_it_is_built_again(tmp_path):
    write(tmp_path, "alpha")
    async with following(tmp_path) as fleet:
        fleet.drain("triton/alpha", True)
        write(tmp_path, "alpha", concurrency=7)
        await until(lambda: fleet.members["triton/alpha"].entry.concurrency == 7)
        await until(lambda: fleet.members["triton/alpha"].checked_at)
        assert fleet.members["triton/alpha"].state is State.DRAINING
        fleet.drain("triton/alpha", False)
        assert fleet.members["triton/alpha"].state is State.READY


async def test_what_could_not_be_taken_in_is_taken_in_at_the_next_look(tmp_path):
    failures = [RuntimeError("the first look")]

    async def recall(_name):
        if failures:
            raise failures.pop()

    write(tmp_path, "alpha")
    fleet = Fleet.of([entry("built-in")], ScriptedBackend)
    async with probing(fleet, NEVER, 1) as probes:
        discovery = Discovery(tmp_path, ["triton/built-in"], fleet, ScriptedBackend, probes, recall)
        with pytest.raises(RuntimeError):
            await discovery.look()
        await discovery.look()
        assert fleet.members["triton/alpha"].state is State.READY


def test_a_link_on_its_way_into_place_is_none(tmp_path):
    write(tmp_path, "alpha")
    (tmp_path / ".alpha.123").symlink_to(tmp_path / "alpha")
    found, faults = read(tmp_path)
    assert list(found) == ["triton/alpha"]
    assert not faults


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: triton/broken\nkind: triton\n", "model"),
        ("- a\n- list\n", "document"),
        ("name: [", "is not YAML"),
        (yaml.safe_dump(entry("broken").model_dump(mode="json") | {"price_usd": -1}), "price_usd"),
    ],
)
async def test_an_entry_that_is_wrong_is_told_with_its_line_and_harms_no_other(tmp_path, text, told):
    write(tmp_path, "alpha")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "backend.yaml").write_text(text)
    found, faults = read(tmp_path)
    assert list(found) == ["triton/alpha"]
    (fault,) = faults
    assert fault.startswith("broken/backend.yaml:")
    assert told in fault
    async with following(tmp_path) as fleet:
        assert names(fleet) == ["triton/alpha", "triton/built-in"]
        write(tmp_path, "broken")
        await until(lambda: "triton/broken" in names(fleet))


async def test_a_name_that_is_taken_stays_whose_it_was(tmp_path):
    write(tmp_path, "impostor", name="triton/built-in")
    write(tmp_path, "one", name="triton/same")
    write(tmp_path, "two", name="triton/same")
    async with following(tmp_path) as fleet:
        assert names(fleet) == ["triton/built-in", "triton/same"]
        assert fleet.members["triton/built-in"].entry.model == "built-in"
        assert fleet.members["triton/same"].entry.model == "one"
