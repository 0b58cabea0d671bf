"""Processes that buy once and are killed on the way: `python -m tests.contract.paid_calls.child`.

One process that has everything imported and tried forks one for every line of its input, so that a child takes a twentieth
of a second and not a whole one. It has one thread, so forking is safe. A child writes one line, unless it is killed, and
its parent another one when it has ended.
"""

import asyncio
import gc
import json
import os
import signal
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx

from router.backends import paid
from router.backends.paid import PaidBackend
from router.backends.protocol import Job, Step, Stored
from router.ledger import Ledger
from router.sizes import Size
from router.tables import metadata
from services.runtime.blobs import BlobStore
from services.runtime.database import open_database
from services.runtime.errors import MeshError
from tests.contract.paid_calls.shop import Kind, ShopProvider
from tests.unit.router.scripted import entry

PICTURES = 2
WRITES = ("open", "take", "note_job", "doubt", "succeed", "fail", "leave")


@dataclass(frozen=True)
class Errand:
    """What a child is to do: buy for a request, and kill itself on reaching a point."""

    url: str
    kind: Kind
    database: str
    home: str
    request: str
    kill: str = ""


@dataclass(eq=False)
class Points:
    """The points a process has come by, each with its number where it came by before."""

    kill: str
    reached: list[str] = field(default_factory=list)
    _times: Counter[str] = field(default_factory=Counter)

    def reach(self, name: str) -> None:
        self._times[name] += 1
        name = name if self._times[name] == 1 else f"{name} ({self._times[name]})"
        self.reached.append(name)
        if name == self.kill:
            os.kill(os.getpid(), signal.SIGKILL)


class Watched:
    """Passes everything on to an object; before and after each call of `methods` is a point."""

    def __init__(self, watched: Any, name: str, points: Points, *methods: str) -> None:
        self._watched, self._name, self._points, self._methods = watched, name, points, methods

    def __getattr__(self, method: str) -> Any:
        found = getattr(self._watched, method)
        if method not in self._methods:
            return found

        async def call(*given: Any, **named: Any) -> Any:
            self._points.reach(f"before {self._name}.{method}")
            answer = await found(*given, **named)
            self._points.reach(f"after {self._name}.{method}")
            return answer

        return call


class WatchedShop(ShopProvider):
    """The adapter with points between a job's receipt and its answer, and between the moments of following one."""

    def __init__(self, kind: Kind, client: httpx.AsyncClient, points: Points) -> None:
        super().__init__(kind, client)
        self._points = points

    async def submit(self, job: Job, reference: str, timeout: float) -> Any:
        answering = asyncio.create_task(super().submit(job, reference, timeout))
        while not (await self._client.get(f"/received/{reference}")).json():
            await asyncio.sleep(0)
        self._points.reach("while the provider has the job and has not answered")
        return await answering

    async def follow(self, ticket: Any, timeout: float) -> AsyncGenerator[Any]:
        async with aclosing(super().follow(ticket, timeout)) as events:
            async for event in events:
                brought = "a step" if isinstance(event, Step) else f"picture {event.index}"
                self._points.reach(f"after provider.follow brought {brought}")
                yield event


async def buy(errand: Errand) -> dict[str, Any]:
    """Buy as an errand says; return what the caller got, and the points on the way."""
    points = Points(errand.kill)
    blobs = BlobStore.open("", Path(errand.home))
    async with (
        httpx.AsyncClient(base_url=errand.url, verify=False) as client,
        open_database(errand.database, "the ledger", metadata) as database,
    ):
        backend = PaidBackend(
            entry(),
            Watched(WatchedShop(Kind(errand.kind), client, points), "provider", points, "submit", "find"),
            Watched(Ledger(database, str(os.getpid())), "ledger", points, *WRITES),
            Watched(blobs, "blobs", points, "put"),
        )
        got: dict[str, Any] = {"reason": "", "pictures": []}
        seeds = tuple(range(PICTURES))
        job = Job(errand.request, errand.request, "", seeds, 1, 0.0, Size(64, 64))
        try:
            async with aclosing(backend.execute(job, 30.0)) as events:
                async for event in events:
                    if isinstance(event, Stored):
                        points.reach(f"after picture {event.index} was delivered")
                        await blobs.get(event.media)
                        got["pictures"].append(event.media.sha256)
        except MeshError as error:
            got["reason"] = error.name
    return got | {"points": points.reached}


def serve() -> None:
    """Fork a child for each line of the input."""
    paid.POLL_SECONDS = 0.02
    asyncio.run(_warm_up())
    gc.freeze()
    assert threading.active_count() == 1
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _tell(asyncio.run(buy(Errand(**json.loads(line)))))
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        _tell({"signal": os.WTERMSIG(status), "ended": True})


async def _warm_up() -> None:
    """Import what is imported on first use."""
    async with httpx.AsyncClient(verify=False) as client:
        with suppress(httpx.ConnectError):
            await client.get("http://127.0.0.1:1/")
    with tempfile.TemporaryDirectory() as folder:
        async with open_database(f"sqlite:///{folder}/ledger", "the ledger", metadata) as database:
            await Ledger(database, "").newest("", "")


def _tell(what: dict[str, Any]) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


@dataclass(frozen=True)
class Ended:
    """How a child ended: the signal that killed it (0: none), and what it told."""

    signal: int
    reason: str = ""
    pictures: tuple[str, ...] = ()
    points: tuple[str, ...] = ()


class Nursery:
    """The process that forks, one child at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls) -> "Nursery":
        pipe = asyncio.subprocess.PIPE
        return cls(
            await asyncio.create_subprocess_exec(sys.executable, "-m", __spec__.name, stdin=pipe, stdout=pipe)
        )

    async def run(self, errand: Errand) -> Ended:
        """Run a child to its end."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin
        assert stdout
        stdin.write(json.dumps(asdict(errand)).encode() + b"\n")
        told: dict[str, Any] = {}
        while not told.pop("ended", False):
            told |= json.loads(await asyncio.wait_for(stdout.readline(), 60))
        return Ended(
            told["signal"],
            told.get("reason", ""),
            tuple(told.get("pictures", ())),
            tuple(told.get("points", ())),
        )

    async def end(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        await self._process.wait()


if __name__ == "__main__":
    serve()
