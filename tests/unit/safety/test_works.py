"""The registry of protected works: what is kept, who may take it out, and how fresh a replica's copy is."""

import dataclasses
import math
from collections.abc import AsyncIterator
from datetime import datetime
from typing import cast

import numpy as np
import pytest
import sqlalchemy as sa
from numpy.typing import NDArray

from scrollintel.visual.v1 import errors_pb2
from services.runtime.errors import MeshError
from services.safety.category import Category
from services.safety.pictures.checker import Shown
from services.safety.pictures.works import CHECKER, ProtectedWorks, severity
from services.safety.policyfile import load_book
from services.safety.rulebook import load_disguises
from services.safety.works import pdq
from services.safety.works.embedding import LENGTH, Embedder, Vector
from services.safety.works.registry import Registry, Work
from services.safety.works.shelf import NEAREST, Near, Shelf
from services.safety.works.tables import open_tables

PICTURE = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
FOREVER = 3600.0
MADE = datetime.fromisoformat("2026-11-23T12:00:00")


def vector(cosine: float) -> Vector:
    """An embedding that has this cosine with `vector(1)`."""
    made = np.zeros(LENGTH, np.float16)
    made[:2] = cosine, math.sqrt(1 - cosine**2)
    return made


@dataclasses.dataclass
class Matcher:
    """Says how like a picture is to every work; None cannot answer."""

    cosine: float | None = 1.0
    asked: int = 0

    async def embed(self, picture: object) -> Vector:
        self.asked += 1
        if self.cosine is None:
            raise MeshError(errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE, "the matcher is away")
        return vector(self.cosine)


def checker(registry: Registry, matcher: Matcher | None = None) -> ProtectedWorks:
    return ProtectedWorks(registry, cast("Embedder", matcher or Matcher()), 5.0)


def bits_away(count: int) -> NDArray[np.uint8]:
    """The picture's own hash, but for so many of its bits."""
    bits = np.unpackbits(pdq.hash_of(PICTURE).own)
    bits[: 2 * count : 2] ^= 1
    return np.packbits(bits)


def work(name: str, *, tenant: str = "museum", request_id: str = "") -> Work:
    noise = np.random.default_rng(list(name.encode()))
    made = noise.integers(0, 256, pdq.BYTES).astype(np.uint8)
    return Work(name, tenant, request_id, f"asked {name}", f"holder of {name}", made, vector(1.0), MADE)


def shown() -> Shown:
    return Shown(PICTURE, "", load_book(None, load_disguises()))


@pytest.fixture
async def registry(database_url: str) -> AsyncIterator[Registry]:
    async with open_tables(database_url) as database:
        yield Registry(database, FOREVER, most=4, most_of_tenant=3)


async def test_an_equal_request_is_the_same_work(registry: Registry) -> None:
    first = await registry.register(work("a", request_id="r1"))
    again = dataclasses.replace(work("a", request_id="r1"), id="another")
    unnamed = dataclasses.replace(work("a"), id="a third")
    assert await registry.register(again) == await registry.register(unnamed) == first
    assert len(await registry.shelf()) == 1


async def test_another_tenants_equal_work_is_its_own(registry: Registry) -> None:
    theirs = dataclasses.replace(work("a", tenant="gallery"), id="theirs")
    assert await registry.register(work("a")) != await registry.register(theirs)


async def test_a_request_id_stands_for_one_work(registry: Registry) -> None:
    await registry.register(work("a", request_id="r1"))
    with pytest.raises(MeshError) as caught:
        await registry.register(work("b", request_id="r1"))
    assert (caught.value.name, caught.value.field) == ("REQUEST_ID_REUSED", "request_id")


async def test_works_are_bounded_for_a_tenant_and_for_all(registry: Registry) -> None:
    for name in "abc":
        await registry.register(work(name))
    with pytest.raises(MeshError, match="you protect 3 works"):
        await registry.register(work("d"))
    assert await registry.register(work("a")) == "a"  # known, and needs no room
    await registry.register(work("e", tenant="gallery"))
    with pytest.raises(MeshError, match="the mesh protects 4 works"):
        await registry.register(work("f", tenant="gallery"))


async def test_a_tenant_lists_and_removes_its_own_alone(registry: Registry) -> None:
    for name, tenant in (("a", "museum"), ("b", "gallery"), ("c", "museum")):
        await registry.register(work(name, tenant=tenant))
    newest, oldest = await registry.page("museum", None, 10)
    assert (newest.id, oldest.id, newest.holder) == ("c", "a", "holder of c")
    assert [each.id for each in await registry.page("museum", newest.sequence, 10)] == ["a"]
    assert not await registry.remove("museum", "b")
    assert await registry.remove("museum", "a")
    assert list((await registry.shelf()).ids) == ["b", "c"]


async def test_what_another_replica_does_is_known_when_the_copy_is_no_longer_fresh(database_url: str) -> None:
    async with open_tables(database_url) as one, open_tables(database_url) as other:
        here, there, stale = Registry(one, 0), Registry(other, 0), Registry(other, FOREVER)
        assert len(await here.shelf()) == len(await stale.shelf()) == 0
        await there.register(work("a"))
        await there.register(work("b"))
        assert list((await here.shelf()).ids) == ["a", "b"]
        await there.remove("museum", "a")
        await there.register(work("c"))
        assert list((await here.shelf()).ids) == ["b", "c"]
        assert len(await stale.shelf()) == 0


async def test_a_registry_that_cannot_be_read_is_no_pass(database_url: str) -> None:
    async with open_tables(database_url) as database:
        registry = Registry(database, 0)
        await database.write(lambda connection: connection.exec_driver_sql("DROP TABLE protected_works"))
        with pytest.raises((MeshError, sa.exc.ProgrammingError)):
            await checker(registry).check(shown())


async def test_a_copy_is_told_by_its_id_and_distance_alone(registry: Registry) -> None:
    await registry.register(dataclasses.replace(work("a"), hash=bits_away(3)))
    await registry.register(work("far"))
    opinion = await checker(registry).check(shown())
    (signal,) = opinion.signals
    assert (signal.category, signal.severity, signal.checker) == (Category.COPYRIGHT, 6, CHECKER)
    assert signal.evidence == "protected work a, distance 3 of 256"
    assert opinion.risk == pytest.approx(6 / 7)


@pytest.mark.parametrize(
    ("distance", "cosine", "told"), [(80, 0.95, True), (80, 0.8, False), (95, 1.0, False)]
)
async def test_a_doubtful_hash_needs_the_matchers_word(
    registry: Registry, distance: int, cosine: float, told: bool
) -> None:
    await registry.register(dataclasses.replace(work("a"), hash=bits_away(distance)))
    signals = (await checker(registry, Matcher(cosine)).check(shown())).signals
    assert [signal.severity for signal in signals] == ([3] if told else [])
    assert all(f"distance {distance} of 256, likeness 0.95" in signal.evidence for signal in signals)


async def test_the_matcher_is_asked_in_doubt_alone_and_its_silence_is_no_pass(registry: Registry) -> None:
    away = Matcher(None)
    await registry.register(dataclasses.replace(work("a"), hash=bits_away(20)))
    assert (await checker(registry, away).check(shown())).signals
    assert away.asked == 0
    await registry.register(dataclasses.replace(work("b"), hash=bits_away(70)))
    with pytest.raises(MeshError):
        await checker(registry, away).check(shown())


async def test_an_empty_registry_finds_nothing(registry: Registry) -> None:
    opinion = await checker(registry).check(shown())
    assert (list(opinion.signals), opinion.risk) == ([], 0.0)


def test_severities_fall_with_the_distance() -> None:
    graves = [severity(distance) for distance in range(pdq.BITS + 1)]
    assert graves == sorted(graves, reverse=True)
    assert graves[0] == 6
    assert graves[100] == 0


def test_the_nearest_works_come_first_and_each_once() -> None:
    seen = pdq.hash_of(PICTURE)
    hashes = np.stack([bits_away(count) for count in range(NEAREST + 3)])
    vectors = np.stack([vector(1.0)] * len(hashes))
    shelf = Shelf.empty().with_more(99, [f"w{index}" for index in range(len(hashes))], hashes, vectors)
    found = shelf.nearest(seen, 10)
    assert found == [Near(f"w{count}", count, count) for count in range(11)]
    assert len(shelf.nearest(seen, pdq.BITS)) == NEAREST
    assert shelf.nearest(seen, -1) == []
