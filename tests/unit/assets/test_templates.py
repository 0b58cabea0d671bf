"""The table of templates, on SQLite and on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from scrollintel.visual.v1.assets_pb2 import StoredTemplate
from services.assets.tables import open_tables
from services.assets.templates import Asked, Templates
from services.runtime.errors import MeshError

MOST = 4


@pytest.fixture
async def templates(database_url: str) -> AsyncIterator[Templates]:
    async with open_tables(database_url) as tables:
        yield Templates(tables, MOST)


def asked(
    template_id: str, tenant: str = "local", request_id: str = "", text: str = "a smiling cat 😺"
) -> Asked:
    return Asked(tenant, request_id, text, StoredTemplate(id=template_id, name="Cat", text=text))


async def ids(
    templates: Templates, tenant: str = "local", before: int | None = None, size: int = 9
) -> list[str]:
    return [kept.template.id for kept in await templates.page(tenant, before, size)]


async def test_a_template_comes_back_whole_after_a_restart(database_url: str) -> None:
    async with open_tables(database_url) as tables:
        stored = await Templates(tables, MOST).keep(asked("own-a"))
    async with open_tables(database_url) as tables:
        assert await Templates(tables, MOST).get("local", "own-a") == stored
        assert stored.text == "a smiling cat 😺"


async def test_a_tenant_sees_and_removes_its_own(templates: Templates) -> None:
    await templates.keep(asked("own-a", "ann", "r"))
    assert await templates.get("bob", "own-a") is None
    assert not await templates.delete("bob", "own-a")
    await templates.keep(asked("own-a", "bob", "r", "another"))  # its own id and request id
    assert await templates.delete("ann", "own-a")
    assert not await templates.delete("ann", "own-a")
    assert await ids(templates, "ann") == []
    assert await ids(templates, "bob") == ["own-a"]


async def test_the_same_request_makes_one_template(templates: Templates) -> None:
    first = await templates.keep(asked("own-a", request_id="r"))
    assert await templates.keep(asked("own-b", request_id="r")) == first
    assert await ids(templates) == ["own-a"]
    with pytest.raises(MeshError) as caught:
        await templates.keep(asked("own-c", request_id="r", text="another"))
    assert (caught.value.name, caught.value.field) == ("REQUEST_ID_REUSED", "request_id")


async def test_an_id_that_is_taken_is_refused(templates: Templates) -> None:
    await templates.keep(asked("own-a"))
    with pytest.raises(MeshError) as caught:
        await templates.keep(asked("own-a"))
    assert (caught.value.name, caught.value.field) == ("FIELD_INVALID", "id")


async def test_no_tenant_keeps_more_than_it_may(templates: Templates) -> None:
    for number in range(MOST):
        await templates.keep(asked(f"own-{number}", request_id=f"r{number}"))
    with pytest.raises(MeshError) as caught:
        await templates.keep(asked("own-more"))
    assert caught.value.name == "QUOTA_EXHAUSTED"
    await templates.keep(asked("own-other", request_id="r0"))  # answered before: it adds none
    await templates.keep(asked("own-more", "bob"))
    await templates.delete("local", "own-0")
    await templates.keep(asked("own-more"))


async def test_pages_are_newest_first_and_do_not_shift_when_templates_come_and_go(
    templates: Templates,
) -> None:
    for number in range(3):
        await templates.keep(asked(f"own-{number}"))
    (first,) = await templates.page("local", None, 1)
    assert first.template.id == "own-2"
    await templates.keep(asked("own-new"))
    await templates.delete("local", "own-1")
    assert await ids(templates, before=first.sequence) == ["own-0"]


async def test_of_many_requests_at_once_one_makes_the_template(templates: Templates) -> None:
    made = await asyncio.gather(*(templates.keep(asked("own-a", request_id="r")) for _ in range(8)))
    assert {template.id for template in made} == {"own-a"}
    assert await ids(templates) == ["own-a"]
