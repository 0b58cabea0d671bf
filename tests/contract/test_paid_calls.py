"""Paid calls that are killed at every point: the provider sees one job, and who asks again gets what was bought.

Callers are processes that end themselves with SIGKILL; the provider is a server of the test, which outlives them. The
points are not listed here: a run that is not killed tells them. What came of each stands in docs/13-ledger.md, and is
compared.
"""

import asyncio
import re
import signal
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from router.backends.paid import PaidBackend
from router.backends.protocol import Job
from router.ledger import Ledger
from router.sizes import Size
from router.tables import metadata
from services.runtime.blobs import BlobStore
from services.runtime.database import open_database
from services.runtime.errors import MeshError
from tests.contract.paid_calls.child import PICTURES, Ended, Errand, Nursery
from tests.contract.paid_calls.shop import Kind, Shop, ShopProvider
from tests.contract.providers.http_server import DROPPED, PAGE, RUBBISH, Answer
from tests.unit.router.scripted import entry

CHILDREN = 3
CUT_OFF = Answer(body=b'{"job": "0", "usd": 0.25}', cut=9)
FAULT = Answer(status=500, body=b"{}")
DOCUMENT = Path(__file__).parents[2] / "docs" / "13-ledger.md"

OPENED, JOB_NOTED, SETTLED = "after ledger.open", "after ledger.note_job", "after ledger.succeed"
# From which point on a call can be brought to its end by the next process, besides before it was written down.
KNOWN_FROM = {Kind.LOOKUP: OPENED, Kind.QUEUE: JOB_NOTED, Kind.DIRECT: SETTLED}

Nurseries = asyncio.Queue[Nursery]


@pytest_asyncio.fixture(scope="module")
async def nurseries() -> AsyncIterator[Nurseries]:
    queue: Nurseries = asyncio.Queue()
    all_of_them = await asyncio.gather(*(Nursery.start() for _ in range(CHILDREN)))
    for nursery in all_of_them:
        queue.put_nowait(nursery)
    yield queue
    await asyncio.gather(*(nursery.end() for nursery in all_of_them))


@dataclass(frozen=True)
class Scene:
    """A shop, a ledger in a file, and processes to buy with."""

    shop: Shop
    home: Path
    nurseries: Nurseries
    url: str = ""

    @property
    def database(self) -> Path:
        return self.home / "ledger.sqlite"

    async def buy(self, request: str, kill: str = "") -> Ended:
        """Buy in a process of its own, which kills itself on reaching a point."""
        url = self.url or f"sqlite:///{self.database}"
        errand = Errand(self.shop.server.url, self.shop.kind, url, str(self.home), request, kill)
        async with self._nursery() as nursery:
            return await nursery.run(errand)

    async def kill(self, request: str, point: str) -> None:
        """Buy, be killed at a point, and let the time pass after which the holder of the call counts as dead."""
        ended = await self.buy(request, point)
        assert ended.signal == signal.SIGKILL, point
        with closing(sqlite3.connect(self.database, timeout=10)) as database, database:
            database.execute("UPDATE paid_calls SET lease_us = 0 WHERE request_id = ?", [request])

    def states(self, request: str) -> list[str]:
        """The states of the calls of a request, the first one first."""
        query = "SELECT state FROM paid_calls WHERE request_id = ? ORDER BY attempt"
        with closing(sqlite3.connect(self.database, timeout=10)) as database:
            return [state for (state,) in database.execute(query, [request])]

    @asynccontextmanager
    async def _nursery(self) -> AsyncIterator[Nursery]:
        nursery = await self.nurseries.get()
        try:
            yield nursery
        finally:
            self.nurseries.put_nowait(nursery)


@pytest.fixture(params=list(Kind), ids=lambda kind: kind.name.lower())
def scene(request: pytest.FixtureRequest, tmp_path: Path, nurseries: Nurseries) -> Iterator[Scene]:
    shop = Shop(request.param)
    with shop.server:
        yield Scene(shop, tmp_path, nurseries)


@pytest.fixture
def finding_scene(tmp_path: Path, nurseries: Nurseries) -> Iterator[Scene]:
    shop = Shop(Kind.LOOKUP)
    with shop.server:
        yield Scene(shop, tmp_path, nurseries)


async def test_a_call_killed_at_any_point_is_made_once_and_delivered_or_known_to_be_unknown(
    scene: Scene,
) -> None:
    kind = scene.shop.kind
    points = (await scene.buy("undisturbed")).points
    opened, known = points.index(OPENED), points.index(KNOWN_FROM[kind])

    async def killed(number: int, point: str) -> str:
        request = f"killed-{number}"
        await scene.kill(request, point)
        left, jobs = "".join(scene.states(request)) or "no row", scene.shop.jobs(request)
        again = await scene.buy(request)
        if opened <= number < known:
            assert (again.reason, again.pictures) == ("OUTCOME_UNKNOWN", ()), point
            assert scene.states(request) == ["UNKNOWN"], point
            assert scene.shop.jobs(request) == jobs <= 1, point
        else:
            assert (again.reason, len(again.pictures)) == ("", PICTURES), point
            assert scene.states(request)[-1] == "SUCCEEDED", point
            assert scene.shop.jobs(request) == 1, point
        return f"{left}, {jobs} → {'UNKNOWN' if again.reason else 'delivered'}"

    cells = await asyncio.gather(*(killed(*each) for each in enumerate(points)))
    outcomes = dict(zip(points, cells, strict=True))
    assert outcomes == documented(kind), table(kind, outcomes)


@pytest.mark.parametrize("first", ["before provider.submit", "after provider.submit"])
async def test_who_looks_a_killed_call_up_may_be_killed_too(finding_scene: Scene, first: str) -> None:
    scene = finding_scene
    await scene.kill("undisturbed", first)
    told = await scene.buy("undisturbed")
    points = [
        point for point in told.points if re.match(r"(before|after|while) (the )?(ledger|provider)\b", point)
    ]
    assert "after provider.find" in points

    async def killed(number: int, point: str) -> None:
        request = f"twice-{number}"
        await scene.kill(request, first)
        await scene.kill(request, point)
        again = await scene.buy(request)
        assert (again.reason, len(again.pictures)) == ("", PICTURES), point
        assert scene.shop.jobs(request) == 1, point
        assert scene.states(request)[-1] == "SUCCEEDED", point

    await asyncio.gather(*(killed(*each) for each in enumerate(points)))


async def test_of_processes_that_race_for_one_request_one_pays_and_all_are_served(
    database_url: str, tmp_path: Path, nurseries: Nurseries
) -> None:
    shop = Shop(Kind.LOOKUP)
    with shop.server:
        scene = Scene(shop, tmp_path, nurseries, database_url)
        await scene.buy("first")  # the tables are there
        for request in ("one", "two", "three"):
            ended = await asyncio.gather(*(scene.buy(request) for _ in range(CHILDREN)))
            assert shop.jobs(request) == 1
            assert {each.reason for each in ended} == {""}
            assert {each.pictures for each in ended} == {ended[0].pictures}
            assert len(ended[0].pictures) == PICTURES


@pytest.mark.parametrize(
    "answer", [RUBBISH, PAGE, CUT_OFF, DROPPED, FAULT], ids=["json", "page", "cut", "dropped", "500"]
)
async def test_an_answer_that_makes_no_sense_is_told_and_never_paid_for_again(
    scene: Scene, answer: Answer
) -> None:
    shop = scene.shop
    shop.server.fault("POST", "/jobs", answer, answer)
    blobs = BlobStore.open("", scene.home)
    async with (
        httpx.AsyncClient(base_url=shop.server.url) as client,
        open_database(f"sqlite:///{scene.database}", "the ledger", metadata) as database,
    ):
        backend = PaidBackend(entry(), ShopProvider(shop.kind, client), Ledger(database, "replica"), blobs)
        job = Job("rubbish", "rubbish", "", (1,), 1, 0.0, Size(64, 64))
        for _ in range(2):
            with pytest.raises(MeshError, match="OUTCOME_UNKNOWN"):
                [_ async for _ in backend.execute(job, 10)]
            if shop.kind is Kind.LOOKUP:
                break  # its next look has to wait until the call can no longer be on its way
        await backend.close()
    assert shop.server.count("POST") == 1
    assert scene.states("rubbish") == ["UNKNOWN"]


def documented(kind: Kind) -> dict[str, str]:
    """What docs/13-ledger.md says of a kind of provider: point -> what was left and what came of it."""
    lines = DOCUMENT.read_text().splitlines()
    header = next(number for number, line in enumerate(lines) if line.startswith("| killed"))
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in takewhile(lambda line: line.startswith("|"), lines[header:])
    ]
    column = rows[0].index(kind)
    return {row[0]: row[column] for row in rows[2:] if row[column] != "–"}


def table(kind: Kind, outcomes: dict[str, str]) -> str:
    """The outcomes as the lines of a table, to be taken into the page."""
    return "\n".join([f"| killed | {kind} |", *(f"| {point} | {cell} |" for point, cell in outcomes.items())])
