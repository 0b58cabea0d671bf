"""Batching across callers, fair between them.

Requests cut their work into units of about the same size: one row of one denoising step, one tile of one picture.
Worker threads take units of several requests into one network call. Requests join and leave at any unit (continuous
batching: Yu et al., "Orca", OSDI 2022), so nobody waits for a batch to be drawn to its end. A model adopts it so:

    batcher = Batcher(self.run, workers=1, max_batch=8, max_owners=16, is_out_of_memory=graph.is_out_of_memory)

    def run(self, bucket, units):            # on a worker thread; one result for each unit, in their order
        z, t = (np.stack(part) for part in zip(*units))
        return self.unet.run({"sample": z, "timestep": t})["out"]

    with batcher.enter(lambda: stop_if_cancelled(request, f"after {step} steps")) as owner:   # on the request's thread
        for step in range(steps):
            images = np.stack(owner.run(bucket=(height, width), units=rows_of(step)))

- `bucket` is whatever units must share to be in one call: shape, variant, component. Any hashable value.
- A unit is one ROW of the call, not a whole step of sixteen pictures: the largest unit is the longest that anybody
  waits for. Give `cost` where rows of different buckets take different times (pixels, say); its scale is free.
- `enter` takes a function that raises when the caller has gone. It is asked before each of the owner's batches, on a
  worker thread; what it raises is raised by `run` and `map` in the owner's thread, and the owner's units are dropped.
- A batch that fails is tried again one unit at a time, so that one bad unit does not fail its neighbours; one that
  runs out of memory is tried again in halves, and later batches stay small for a while. What still fails is raised
  by the `run` or `map` that asked for it. So the function must bear being called again with the same units, and
  should see to what a run that failed keeps: an arena holds on to all it got (`Graph.run(shrink=True)`, or load anew).
- One worker for a GPU (with `gather=0.002`: requests in step with one another then stay in one batch) and the largest
  batch that it fills well; on a CPU, which gains little from large batches, two workers and small ones.
- Close the request, or let it be closed, after `enter` or when all its units are done: see `enter`.

Order: start-time fair queueing (Goyal, Vin, Cheng, "Start-time Fair Queueing", SIGCOMM 1996), which needs no notion
of how fast the server is; the idea of serving by finish tags is Demers, Keshav and Shenker's (SIGCOMM 1989). See
`FairQueue` for the bound.
"""

import math
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Generic, NamedTuple, TypeVar

Unit = TypeVar("Unit")
Result = TypeVar("Result")

RECOVERY = 100
"""Batches that must fit before one more unit is allowed into a batch again, after memory had run out."""
ANY: Hashable = object()


class Full(Exception):  # noqa: N818 - a state that the caller is told of
    """As many owners as there may be are there already; try again later."""


class Closed(Exception):  # noqa: N818
    """The batcher was closed while units waited, or before they came."""


@dataclass(slots=True)
class _Flow(Generic[Unit]):
    """One owner's units. `start` is the tag of the first that waits, `finish` that of the last that was taken."""

    arrival: int
    start: float = 0.0
    finish: float = 0.0
    waiting: deque[tuple[Hashable, float, Unit]] = field(default_factory=deque)


class FairQueue(Generic[Unit]):
    """Units of several owners, handed out in batches; no owner gets ahead of another that waits.

    Each unit has a start tag: where its owner's unit before it ended in virtual time, or the virtual time at which it
    came if that is later (an owner that was idle has saved up nothing). The unit with the smallest tag leads the next
    batch and its tag is the virtual time. Units of the same bucket ride along in the order of their tags, as long as
    their tag is at most a batch ahead of the leader's.

    Bound: while two owners both have units waiting and may be served, what they have been handed differs by at most 2 b c + 2 c, with b
    the largest batch and c the largest cost. (Every unit taken has a tag in [v, v + b c]; every owner that waits has a
    tag of at least v; so over a time in which v grows by d each gets between d - (b + 1) c and d + (b + 1) c.)

    Not safe for threads; `Batcher` is.
    """

    def __init__(self) -> None:
        self._flows: dict[Hashable, _Flow[Unit]] = {}
        self._arrivals = count()
        self._virtual = 0.0

    def __len__(self) -> int:
        return sum(len(flow.waiting) for flow in self._flows.values())

    def waiting(self, owner: Hashable) -> int:
        """Return how many of an owner's units wait."""
        return len(self._flows[owner].waiting) if owner in self._flows else 0

    def push(self, owner: Hashable, bucket: Hashable, units: Iterable[Unit], cost: float) -> None:
        """Append an owner's units, each of `cost` > 0."""
        if not cost > 0:
            raise ValueError(f"cost: must be more than 0; {cost} given")
        flow = self._flows.get(owner)
        if flow is None:
            flow = self._flows[owner] = _Flow(next(self._arrivals))
        if not flow.waiting:
            flow.start = max(self._virtual, flow.finish)
        flow.waiting.extend((bucket, cost, unit) for unit in units)

    def drop(self, owner: Hashable) -> None:
        """Drop what waits of an owner; what it has been handed still counts."""
        if owner in self._flows:
            self._flows[owner].waiting.clear()

    def remove(self, owner: Hashable) -> None:
        """Forget an owner and what waits of it."""
        self._flows.pop(owner, None)

    def ready(self, allowed: Callable[[Hashable], bool] = lambda owner: True) -> int:
        """Return how many units could share the next batch of the `allowed` owners, were there no limit to it."""
        leader = self._earliest(allowed)
        if leader is None:
            return 0
        bucket = leader.waiting[0][0]
        return sum(
            bucket == other
            for owner, flow in self._flows.items()
            if flow.waiting and allowed(owner)
            for other, _, _ in flow.waiting
        )

    def take(
        self, limit: int, allowed: Callable[[Hashable], bool] = lambda owner: True
    ) -> tuple[Hashable, list[Unit]]:
        """Return the next batch, of 1 to `limit` units of one bucket and of `allowed` owners.

        Raises IndexError when there is none.
        """
        leader = self._earliest(allowed)
        if leader is None:
            raise IndexError("nothing waits")
        bucket, cost, _ = leader.waiting[0]
        # An owner that was not allowed for a time may have an earlier tag: virtual time never goes back.
        self._virtual = max(self._virtual, leader.start)
        horizon = leader.start + limit * cost
        batch: list[Unit] = []
        while len(batch) < limit:
            flow = self._earliest(allowed, bucket, horizon)
            if flow is None:
                break
            _, cost, unit = flow.waiting.popleft()
            flow.start = flow.finish = flow.start + cost
            batch.append(unit)
        return bucket, batch

    def _earliest(
        self, allowed: Callable[[Hashable], bool], bucket: Hashable = ANY, horizon: float = math.inf
    ) -> _Flow[Unit] | None:
        flows = (
            flow
            for owner, flow in self._flows.items()
            if flow.waiting
            and flow.start <= horizon
            and (bucket is ANY or flow.waiting[0][0] == bucket)
            and allowed(owner)
        )
        return min(flows, key=lambda flow: (flow.start, flow.arrival), default=None)


class Statistics(NamedTuple):
    """What a batcher does now (the first four) and did since it began."""

    num_requests_running: int
    """Owners with a unit in a batch at this moment."""
    num_requests_waiting: int
    """Owners with units waiting and none in a batch."""
    num_requests: int
    """Owners inside, with those that are between two units."""
    largest_batch: int
    """What a batch may hold: less than `max_batch` after memory ran out."""
    units: int
    batches: int
    out_of_memory: int
    """Calls that ran out of memory."""

    @property
    def mean_batch(self) -> float:
        """Units in a batch on average; 0 before the first."""
        return self.units / self.batches if self.batches else 0.0


@dataclass(slots=True, eq=False)
class _Task(Generic[Unit, Result]):
    """A unit on its way through a worker."""

    owner: "Owner[Unit, Result]"
    unit: Unit
    done: bool = False
    result: Result | None = None
    error: BaseException | None = None


class Owner(Generic[Unit, Result]):
    """One request's side of a batcher; from `Batcher.enter`, used by one thread."""

    def __init__(
        self, batcher: "Batcher[Unit, Result]", check: Callable[[], None], changed: threading.Condition
    ) -> None:
        self._batcher = batcher
        self._check = check
        self._changed = changed
        self._running = 0  # units
        self._calls = 0  # batches with any of them
        self._checks = 0  # under way

    def run(self, bucket: Hashable, units: Iterable[Unit], *, cost: float = 1.0) -> list[Result]:
        """Return the units' results in the order of the units. Raises as `map` does."""
        return list(self.map(bucket, units, cost=cost))

    def map(self, bucket: Hashable, units: Iterable[Unit], *, cost: float = 1.0) -> Iterator[Result]:
        """Yield the units' results in the order of the units, taking units from the iterable as there is room.

        At most `Batcher.ahead` units are waiting, running or unread at one time, so that neither a long iterable nor a
        slow reader makes memory grow. Raises what a unit failed with, what the owner's check raised, or Closed; the
        owner's other units are dropped then, and when the iterator is closed.
        """
        source = iter(units)
        tasks: deque[_Task[Unit, Result]] = deque()
        try:
            while True:
                fresh = [_Task(self, unit) for unit in islice(source, self._batcher.ahead - len(tasks))]
                if fresh:
                    self._batcher._submit(self, bucket, fresh, cost)
                    tasks.extend(fresh)
                if not tasks:
                    return
                yield self._batcher._result(tasks.popleft())
        finally:
            self._batcher._withdraw(self)


class Batcher(Generic[Unit, Result]):
    """Worker threads that run the units of several owners in shared batches."""

    def __init__(
        self,
        run: Callable[[Hashable, list[Unit]], Sequence[Result]],
        *,
        workers: int,
        max_batch: int,
        max_owners: int,
        max_calls: int | None = None,
        gather: float = 0.0,
        is_out_of_memory: Callable[[BaseException], bool] = lambda error: isinstance(error, MemoryError),
    ) -> None:
        """Start `workers` threads. `run` takes a bucket and 1 to `max_batch` units and is called by all of them.

        `gather` is how long, in seconds, a worker waits for owners that are between two units before it starts a batch
        that is not full. It costs a lone caller nothing. `max_calls` is in how many batches at one time an owner may
        have units: one less than `workers` leaves a worker to whoever comes, where a unit takes long.
        """
        for name, value in (("workers", workers), ("max_batch", max_batch), ("max_owners", max_owners)):
            if value < 1:
                raise ValueError(f"{name}: must be at least 1; {value} given")
        self.ahead = 2 * workers * max_batch
        self._run = run
        self._max_batch = self._largest = max_batch
        self._max_owners = max_owners
        self._max_calls = max_calls or workers
        self._gather = gather
        self._is_out_of_memory = is_out_of_memory
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._queue: FairQueue[_Task[Unit, Result]] = FairQueue()
        self._owners: set[Owner[Unit, Result]] = set()
        self._idle = 0
        self._closed = False
        self._units = self._batches = self._shortages = self._fitting = 0
        self._threads = [
            threading.Thread(target=self._serve, name=f"batch-{index}", daemon=True)
            for index in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    @contextmanager
    def enter(self, check: Callable[[], None] = lambda: None) -> Iterator[Owner[Unit, Result]]:
        """Take part for as long as the body runs. Raises Full, and Closed.

        `check` raises when the owner's work is no longer wanted. It is not called any more once the body has ended, so a
        request that is asked whether it is cancelled should be closed after that, or when all its units are done: asked
        afterwards, Triton (2.51) reads freed memory and dies.
        """
        owner = Owner(self, check, threading.Condition(self._lock))
        with self._lock:
            if self._closed:
                raise Closed("the batcher is closed")
            if len(self._owners) >= self._max_owners:
                raise Full(f"the queue is full: {self._max_owners} requests are inside; try again later")
            self._owners.add(owner)
        try:
            yield owner
        finally:
            with self._lock:
                self._owners.remove(owner)
                self._queue.remove(owner)
                self._work.notify_all()  # whoever gathers need not wait for this owner
                owner._changed.wait_for(lambda: not owner._checks)

    def statistics(self) -> Statistics:
        """Return what the batcher does and did."""
        with self._lock:
            running = sum(owner._running > 0 for owner in self._owners)
            waiting = sum(not owner._running and self._queue.waiting(owner) > 0 for owner in self._owners)
            return Statistics(
                running,
                waiting,
                len(self._owners),
                self._largest,
                self._units,
                self._batches,
                self._shortages,
            )

    def close(self, timeout: float | None = None) -> None:
        """Fail what waits with Closed, and wait at most `timeout` seconds for the batches that run."""
        with self._lock:
            self._closed = True
            self._work.notify_all()
            for owner in self._owners:
                owner._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout)

    def _submit(
        self, owner: Owner[Unit, Result], bucket: Hashable, tasks: list[_Task[Unit, Result]], cost: float
    ) -> None:
        with self._lock:
            self._queue.push(owner, bucket, tasks, cost)
            self._work.notify_all()

    def _result(self, task: _Task[Unit, Result]) -> Result:
        with self._lock:
            task.owner._changed.wait_for(lambda: task.done or self._closed)
            if not task.done:
                raise Closed("the batcher was closed")
        if task.error is not None:
            raise task.error
        return task.result  # type: ignore[return-value] # it is done and has no error

    def _withdraw(self, owner: Owner[Unit, Result]) -> None:
        with self._lock:
            self._queue.drop(owner)

    def _serve(self) -> None:
        while (batch := self._take()) is not None:
            bucket, tasks = batch
            if wanted := self._wanted(tasks):
                self._attempt(bucket, wanted)
            with self._lock:
                for owner in {task.owner for task in tasks}:
                    owner._calls -= 1
                self._work.notify_all()

    def _take(self) -> tuple[Hashable, list[_Task[Unit, Result]]] | None:
        """Wait for a batch; None when the batcher is closed."""
        with self._lock:
            self._idle += 1
            try:
                while not self._closed:
                    self._work.wait_for(lambda: self._closed or self._queue.ready(self._allowed) > 0)
                    if self._gather:
                        self._work.wait_for(self._gathered, self._gather)
                    ready = self._queue.ready(self._allowed)
                    if self._closed or not ready:
                        continue
                    # Divided among the workers that have nothing to do, or one would run all of it beside idle others.
                    share = math.ceil(ready / self._idle)
                    bucket, tasks = self._queue.take(min(self._largest, share), self._allowed)
                    for task in tasks:
                        task.owner._running += 1
                    for owner in {task.owner for task in tasks}:
                        owner._calls += 1
                    return bucket, tasks
                return None
            finally:
                self._idle -= 1

    def _allowed(self, owner: Hashable) -> bool:
        return isinstance(owner, Owner) and owner._calls < self._max_calls

    def _gathered(self) -> bool:
        """Whether waiting longer could not make the batch larger."""
        return (
            self._closed
            or self._queue.ready(self._allowed) >= self._largest
            or all(owner._running or self._queue.waiting(owner) for owner in self._owners)
        )

    def _wanted(self, tasks: list[_Task[Unit, Result]]) -> list[_Task[Unit, Result]]:
        """Ask each owner's check, once; return the tasks of those that are still there and want theirs."""
        return [
            task
            for owner in dict.fromkeys(task.owner for task in tasks)
            if self._check(owner, [task for task in tasks if task.owner is owner])
            for task in tasks
            if task.owner is owner
        ]

    def _check(self, owner: Owner[Unit, Result], tasks: list[_Task[Unit, Result]]) -> bool:
        """Ask an owner's check, outside the lock but only while it is inside: see `enter`."""
        gone: BaseException | None = None
        with self._lock:
            if owner in self._owners:
                owner._checks += 1
            else:
                gone = Closed("its owner has left")
        if gone is None:
            try:
                owner._check()
            except (
                BaseException
            ) as error:  # whatever it is, the owner's thread is the one that must hear of it
                gone = error
            with self._lock:
                owner._checks -= 1
                owner._changed.notify_all()
        if gone is not None:
            self._finish(tasks, error=gone)
        return gone is None

    def _attempt(self, bucket: Hashable, tasks: list[_Task[Unit, Result]]) -> None:
        """Run the tasks in one call, or in several smaller ones if that fails; each gets a result or an error."""
        try:
            results = self._run(bucket, [task.unit for task in tasks])
            if len(results) != len(tasks):
                raise RuntimeError(f"a batch of {len(tasks)} gave {len(results)} results")
        except BaseException as error:  # a worker that died of it would leave its owners waiting for ever
            if short_of_memory := self._is_out_of_memory(error):
                self._shrink(len(tasks))
            if len(tasks) == 1:
                self._finish(tasks, error=error)
                return
        else:
            self._finish(tasks, results)
            return
        # Out here the error is gone, and with its traceback whatever the failed call still held.
        size = len(tasks) // 2 if short_of_memory else 1
        for start in range(0, len(tasks), size):
            if wanted := self._wanted(tasks[start : start + size]):
                self._attempt(bucket, wanted)

    def _shrink(self, failed: int) -> None:
        with self._lock:
            self._shortages += 1
            self._largest = max(1, min(self._largest, failed // 2))
            self._fitting = 0

    def _finish(
        self,
        tasks: list[_Task[Unit, Result]],
        results: Sequence[Result] = (),
        error: BaseException | None = None,
    ) -> None:
        with self._lock:
            if error is None:
                self._batches += 1
                self._units += len(tasks)
                self._grow(len(tasks))
            for index, task in enumerate(tasks):
                task.done, task.error = True, error
                task.result = results[index] if error is None else None
                task.owner._running -= 1
                task.owner._changed.notify()

    def _grow(self, fitted: int) -> None:
        """Additive increase after multiplicative decrease: what else takes memory comes and goes."""
        if self._largest < self._max_batch and fitted >= self._largest:
            self._fitting += 1
            if self._fitting >= RECOVERY:
                self._largest, self._fitting = self._largest + 1, 0


def start_threads(count: int, name: str) -> ThreadPoolExecutor:
    """Return a pool all of whose threads run already, for the requests that wait for their units.

    A pool that starts them when they are needed may find no memory for one, and then keeps what it was given without
    anybody to run it.
    """
    pool, started = ThreadPoolExecutor(count, name), threading.Barrier(count)
    for _ in range(count):
        pool.submit(started.wait)
    return pool
