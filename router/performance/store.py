"""The performance database at work: it writes down what this router sees and learns what the others have seen."""

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import Protocol

import sqlalchemy as sa
import structlog

from router.experiments.experiment import Unit
from router.experiments.tally import Tally
from router.performance import results, statements
from router.performance.buffer import Buffer, Waiting
from router.performance.rows import runs, verdicts
from router.performance.statements import Remembered
from router.performance.window import Window
from router.runs import Run, Verdict
from scrollintel.visual.v1 import errors_pb2
from services.runtime import telemetry
from services.runtime.database import Database
from services.runtime.errors import MeshError

BUFFER = 10_000  # runs; almost an hour of three a second
BATCH = 100
PAUSE_SECONDS = 0.2  # how long a run waits for others to be written with
ELSEWHERE_SECONDS = 0.5  # how long a run that ended on another replica may take to be written down there
KEPT = 100_000  # runs
BITE_SECONDS = 0.05  # between two deletions, so that others get their turn
REPLAYED = 2_000  # runs of a backend
AT_ONCE = 50  # learned of before others get their turn; each run takes some 0.1 ms
OVERLAP = 10_000  # newest rows that are told apart at a start, so that one that turns up late among them is not lost

log = structlog.get_logger()
_unrecorded = telemetry.meter.create_counter(
    "vmesh.router.runs.unrecorded",
    description="Runs that the performance database had no room for or did not take",
)


class Learner(Protocol):
    """Learns from runs and verdicts; router.learning.Learning is one."""

    def observe(self, run: Run) -> None:
        """Learn from a run that ended."""

    def judge(self, run: Run, verdict: Verdict) -> None:
        """Learn from how a run's result was judged."""


class Performance:
    """Records runs and verdicts. Opened by `open_performance`.

    The learner has heard of the runs that are recorded here already; it is told of verdicts and of what other replicas
    recorded.
    """

    def __init__(self, database: Database, learner: Learner, replica: str) -> None:
        self._database = database
        self._learner = learner
        self._replica = replica
        self._buffer = Buffer(BUFFER)
        self._added = asyncio.Event()
        self._many = asyncio.Event()
        self._writing = asyncio.Lock()
        self._looking = asyncio.Lock()  # what two looks at the tables both find would be learned twice
        self._recalled: set[str] = set()  # a model that is built anew keeps what is known of it
        self._runs = Window()
        self._verdicts = Window()

    def record(self, run: Run) -> None:
        """Write a run down soon. Never waits; where the database is away for long, the oldest runs are not recorded."""
        if dropped := self._buffer.add(run):
            _unrecorded.add(dropped)
        self._added.set()
        if len(self._buffer) >= BATCH:
            self._many.set()

    ended = record  # as a router.hooks.Journal

    @property
    def waiting(self) -> int:
        """How many runs wait to be written down."""
        return len(self._buffer)

    async def judge(self, verdict: Verdict, *, shadow: bool = False) -> list[Run]:
        """Write a verdict down, learn from it, and return the runs that it judges.

        They are those that delivered for its request or generation to its tenant; with `shadow` those that nobody saw.
        Raises MeshError NOT_FOUND when there are none, QUOTA_EXHAUSTED when they have been judged often enough,
        DEPENDENCY_UNAVAILABLE when the database is away.
        """
        await self.flush()
        judged = await self._judge(verdict, shadow)
        if not judged:
            await asyncio.sleep(ELSEWHERE_SECONDS)
            judged = await self._judge(verdict, shadow)
        if not judged:
            message = f"request_id: no request of this tenant delivered as {verdict.request_id!r}, or it was forgotten"
            raise MeshError(errors_pb2.ERROR_REASON_NOT_FOUND, message, field="request_id")
        await self._teach(Remembered(0, run, verdict) for run in judged)
        return judged

    async def of_experiment(self, experiment: str, unit: Unit) -> dict[str, Tally]:
        """Return what the requests of an experiment came to, by arm. Raises MeshError DEPENDENCY_UNAVAILABLE."""
        return await self._database.read(partial(results.tallies, experiment=experiment, unit=unit))

    async def recall(self, backend: str) -> None:
        """Teach the learner what is remembered of a backend that it has just begun to learn about; the first time only.

        Raises MeshError DEPENDENCY_UNAVAILABLE.
        """
        async with self._looking:
            if backend not in self._recalled:
                await self._replay(backend)
                self._recalled.add(backend)

    async def load(self) -> None:
        """Teach the learner what is remembered of every backend. Raises MeshError DEPENDENCY_UNAVAILABLE."""
        for table, window in ((runs, self._runs), (verdicts, self._verdicts)):
            numbers = await self._database.read(partial(statements.newest, table=table, count=OVERLAP))
            if len(numbers) == OVERLAP:
                window.floor = numbers[0] - 1
            window.see(numbers, time.monotonic())
        for backend in await self._database.read(statements.backends):
            await self._replay(backend)

    async def merge(self) -> None:
        """Teach the learner what other replicas recorded since the last look. Raises MeshError DEPENDENCY_UNAVAILABLE."""
        async with self._looking:
            for window, look in (
                (self._runs, statements.unseen_runs),
                (self._verdicts, statements.unseen_verdicts),
            ):
                unseen = await self._database.read(partial(look, window=window, replica=self._replica))
                window.see(unseen.ids, time.monotonic())
                await self._teach(unseen.remembered)

    async def flush(self) -> None:
        """Write down all runs that wait. Raises MeshError DEPENDENCY_UNAVAILABLE, and they wait on."""
        async with self._writing:
            alone = 0  # how many of the next go one by one, so that the one that is refused holds up no other
            while batch := self._buffer.take(1 if alone else BATCH):
                alone = max(0, alone - 1)
                if not await self._write(batch):
                    self._put_back(batch)
                    alone = len(batch)
            self._added.clear()
            self._many.clear()

    async def flush_soon(self) -> None:
        """Wait until a run waits, then for a batch of them but not for long, and write them down as `flush` does."""
        await self._added.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(PAUSE_SECONDS):
                await self._many.wait()
        await self.flush()

    async def forget(self) -> None:
        """Delete the runs beyond the newest `KEPT`, and the verdicts on them. Raises MeshError DEPENDENCY_UNAVAILABLE."""
        last = await self._database.read(partial(statements.last_to_forget, kept=KEPT))
        deleted = last
        while deleted:
            deleted = await self._database.write(partial(statements.forget, last=last))
            await asyncio.sleep(BITE_SECONDS)

    async def _judge(self, verdict: Verdict, shadow: bool) -> list[Run]:
        try:
            return await self._database.write(
                lambda connection: statements.insert_verdict(connection, verdict, self._replica, shadow)
            )
        except sa.exc.DataError:
            return []  # a name that no row can have: PostgreSQL takes none with a zero character

    async def _replay(self, backend: str) -> None:
        found = await self._database.read(partial(statements.history, backend=backend, count=REPLAYED))
        # What turned up since the last look is told by the next one.
        await self._teach(
            one for one in found if one.id in (self._runs if one.verdict is None else self._verdicts)
        )

    async def _write(self, batch: list[Waiting]) -> bool:
        """Write a batch down, or return False when the database refuses it; a run that it refuses alone is dropped."""
        try:
            await self._database.write(
                lambda connection: statements.insert_runs(connection, batch, self._replica)
            )
        except (MeshError, asyncio.CancelledError):
            self._put_back(batch)  # those that arrived all the same are known by their numbers
            raise
        except Exception as error:
            if len(batch) > 1:
                return False
            _unrecorded.add(1)
            log.error("a run cannot be recorded", backend=batch[0].run.backend, error=type(error).__name__)
        return True

    def _put_back(self, batch: list[Waiting]) -> None:
        if dropped := self._buffer.put_back(batch):
            _unrecorded.add(dropped)

    async def _teach(self, remembered: Iterable[Remembered]) -> None:
        for place, (_, run, verdict) in enumerate(remembered, start=1):
            if place % AT_ONCE == 0:
                await asyncio.sleep(0)
            try:
                if verdict is None:
                    self._learner.observe(run)
                else:
                    self._learner.judge(run, verdict)
            except Exception:  # a row that nothing can be learned from must not stop a router from starting
                log.exception("nothing is learned from a run", backend=run.backend)
