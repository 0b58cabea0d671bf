"""The batcher's threads: what shares a batch, what a failure reaches, and that nobody waits for ever."""

import itertools
import random
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from services.models.serving.batching import RECOVERY, Batcher, Closed, Full, start_threads

SECONDS = 10  # by which anything here has long happened


class Network:
    """Squares numbers; remembers its batches; can be held, poisoned and starved."""

    def __init__(self) -> None:
        self.batches: list[tuple[Hashable, list[Any]]] = []
        self.open = threading.Event()
        self.open.set()
        self.room = 1000

    def __call__(self, bucket: Hashable, units: list[Any]) -> list[Any]:
        self.batches.append((bucket, units))
        assert self.open.wait(SECONDS)
        if len(units) > self.room:
            raise MemoryError(f"{len(units)} do not fit")
        return [unit**2 for unit in units]  # a text is poison

    @property
    def sizes(self) -> list[int]:
        return [len(units) for _, units in self.batches]


@contextmanager
def batcher(
    network: Callable[[Hashable, list[Any]], Sequence[Any]], **options: Any
) -> Iterator[Batcher[Any, Any]]:
    made = Batcher(network, **{"workers": 1, "max_batch": 4, "max_owners": 64} | options)
    try:
        yield made
    finally:
        if isinstance(network, Network):
            network.open.set()
        made.close(SECONDS)


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < limit, "it never came about"
        time.sleep(0.001)


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as pool:
        yield pool


def ask(
    batches: Batcher[Any, Any], units: Sequence[Any], bucket: Hashable = "a", **options: Any
) -> list[Any]:
    with batches.enter(**options) as owner:
        return owner.run(bucket, units)


@pytest.mark.parametrize(("workers", "max_batch"), [(1, 1), (1, 4), (3, 1), (3, 4)])
def test_results_come_in_the_order_of_the_units(
    network: Network, callers: ThreadPoolExecutor, workers: int, max_batch: int
) -> None:
    with batcher(network, workers=workers, max_batch=max_batch) as batches:
        asked = [range(start, start + 30) for start in range(20)]
        answers = list(callers.map(lambda units: ask(batches, units), asked))
    assert answers == [[unit**2 for unit in units] for units in asked]
    assert max(network.sizes) <= max_batch
    assert sum(network.sizes) == 600


def test_callers_share_a_batch_and_buckets_do_not(network: Network, callers: ThreadPoolExecutor) -> None:
    with batcher(network, max_batch=8) as batches:
        network.open.clear()
        first = callers.submit(ask, batches, [0])
        until(lambda: len(network.batches) == 1)
        waiting = [callers.submit(ask, batches, [unit], "ab"[unit % 2]) for unit in range(1, 9)]
        until(lambda: batches.statistics().num_requests_waiting == 8)
        seen = batches.statistics()
        assert (seen.num_requests, seen.num_requests_running) == (9, 1)
        network.open.set()
        assert [future.result(SECONDS) for future in [first, *waiting]] == [[unit**2] for unit in range(9)]
        assert sorted(network.sizes) == [1, 4, 4]
        assert all(len({unit % 2 for unit in units}) == 1 for _, units in network.batches)
        seen = batches.statistics()
        assert (seen.num_requests, seen.num_requests_running, seen.num_requests_waiting) == (0, 0, 0)
        assert seen.mean_batch == 3


def test_idle_workers_divide_what_there_is(network: Network, callers: ThreadPoolExecutor) -> None:
    """Two rows on two cores take the time of one."""
    with batcher(network, workers=2, max_batch=8) as batches:
        until(lambda: batches._idle == 2)
        network.open.clear()
        asked = callers.submit(ask, batches, range(6))
        until(lambda: len(network.batches) == 2)
        network.open.set()
        assert asked.result(SECONDS) == [0, 1, 4, 9, 16, 25]
    assert network.sizes == [3, 3]


def test_a_worker_can_be_left_to_whoever_comes(network: Network, callers: ThreadPoolExecutor) -> None:
    with batcher(network, workers=2, max_batch=1, max_calls=1) as batches:
        network.open.clear()
        long = callers.submit(ask, batches, range(10))
        until(lambda: len(network.batches) == 1)
        short = callers.submit(ask, batches, [77])
        until(lambda: len(network.batches) == 2)
        assert network.batches[1] == ("a", [77])
        assert network.sizes == [1, 1]
        network.open.set()
        assert short.result(SECONDS) == [77**2]
        assert long.result(SECONDS) == [unit**2 for unit in range(10)]


def test_a_request_joins_and_leaves_between_the_steps_of_another(
    network: Network, callers: ThreadPoolExecutor
) -> None:
    """The small one is done while the large one goes on, and shares its batches meanwhile."""
    with batcher(network, max_batch=4, gather=SECONDS) as batches, batches.enter() as large:
        large.run("a", [0, 1])
        joined = callers.submit(ask, batches, [7, 8])
        until(lambda: batches.statistics().num_requests_waiting == 1)
        assert large.run("a", [2, 3]) == [4, 9]
        assert joined.result(SECONDS) == [49, 64]
        assert large.run("a", [4, 5]) == [16, 25]
    assert network.sizes == [2, 4, 2]


def test_gathering_waits_for_those_between_two_steps_and_not_for_those_that_left(
    network: Network, callers: ThreadPoolExecutor
) -> None:
    with batcher(network, gather=SECONDS) as batches, ExitStack() as stack:
        slow = stack.enter_context(batches.enter())
        quick = callers.submit(ask, batches, [1])
        until(lambda: batches.statistics().num_requests == 2)
        time.sleep(0.05)
        assert not network.batches
        slow.run("a", [2])
        assert quick.result(SECONDS) == [1]
        assert network.sizes == [2]
        began = time.monotonic()
        quick = callers.submit(ask, batches, [3])
        until(lambda: batches.statistics().num_requests == 2)
        stack.close()
        assert quick.result(SECONDS) == [9]
        assert time.monotonic() - began < SECONDS / 2


def test_gathering_ends(network: Network) -> None:
    with batcher(network, gather=0.05) as batches, batches.enter():
        assert ask(batches, [3]) == [9]


def test_a_cancelled_owners_units_are_dropped_and_its_own_exception_is_raised(
    network: Network, callers: ThreadPoolExecutor
) -> None:
    gone = threading.Event()

    def check() -> None:
        if gone.is_set():
            raise InterruptedError("the caller has gone")

    with batcher(network, max_batch=2) as batches:
        network.open.clear()
        doomed = callers.submit(ask, batches, range(100, 110), check=check)
        until(lambda: len(network.batches) == 1)
        other = callers.submit(ask, batches, [1, 2, 3])
        until(lambda: batches.statistics().num_requests_waiting == 1)
        gone.set()
        network.open.set()
        assert other.result(SECONDS) == [1, 4, 9]
        with pytest.raises(InterruptedError, match="the caller has gone"):
            doomed.result(SECONDS)
    assert sum(unit >= 100 for _, units in network.batches for unit in units) == 2  # those that had begun


def test_an_owner_that_has_left_is_not_asked_any_more(network: Network, callers: ThreadPoolExecutor) -> None:
    """Its first unit fails and its thread leaves while the others are still to be tried."""
    inside, asked = True, []
    asking, answer = threading.Event(), threading.Event()

    def check() -> None:
        asked.append(inside)
        if len(asked) == 3:  # the second of the units, while the owner's thread is on its way out
            asking.set()
            assert answer.wait(SECONDS)
            asked.append(inside)

    def leave() -> None:
        nonlocal inside
        with pytest.raises(TypeError):
            ask(batches, ["poison", "poison", "poison", "poison"], check=check)
        inside = False

    with batcher(network) as batches:
        leaving = callers.submit(leave)
        assert asking.wait(SECONDS)
        time.sleep(0.05)
        assert not leaving.done()
        answer.set()
        leaving.result(SECONDS)
        until(lambda: batches._idle == 1)
    assert all(asked)
    assert network.sizes == [4, 1, 1]


def test_a_bad_unit_fails_its_owner_alone(network: Network, callers: ThreadPoolExecutor) -> None:
    with batcher(network) as batches:
        network.open.clear()
        first = callers.submit(ask, batches, [0])
        until(lambda: len(network.batches) == 1)
        good = [callers.submit(ask, batches, [unit]) for unit in (1, 2)]
        poisoned = callers.submit(ask, batches, ["poison"])
        until(lambda: batches.statistics().num_requests_waiting == 3)
        network.open.set()
        assert [future.result(SECONDS) for future in [first, *good]] == [[0], [1], [4]]
        with pytest.raises(TypeError):
            poisoned.result(SECONDS)
    assert network.sizes == [1, 3, 1, 1, 1]


def test_what_does_not_fit_is_tried_in_halves(network: Network) -> None:
    network.room = 2
    with batcher(network, max_batch=8) as batches:
        assert ask(batches, range(8)) == [unit**2 for unit in range(8)]
        assert network.sizes == [8, 4, 2, 2, 4, 2, 2]
        assert batches.statistics().out_of_memory == 3
        assert batches.statistics().largest_batch == 2
        ask(batches, range(4))
        assert network.sizes[7:] == [2, 2], "and later batches start small"


def test_batches_grow_again(network: Network) -> None:
    with batcher(network, max_batch=4) as batches:
        network.room = 2
        ask(batches, range(4))
        network.room = 1000
        ask(batches, range(2 * RECOVERY))
        assert batches.statistics().largest_batch == 3
        ask(batches, range(6 * RECOVERY))
        assert batches.statistics().largest_batch == 4


def test_no_memory_for_one_is_reported(network: Network, callers: ThreadPoolExecutor) -> None:
    network.room = 0
    with batcher(network) as batches:
        for future in [callers.submit(ask, batches, range(3)) for _ in range(3)]:
            with pytest.raises(MemoryError, match="1 do not fit"):
                future.result(SECONDS)
        network.room = 1000
        assert ask(batches, [5]) == [25]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_worker_outlives_whatever_its_network_raises(error: type[BaseException]) -> None:
    def network(bucket: Hashable, units: list[Any]) -> list[Any]:
        if bucket == "bad":
            raise error
        return units

    with batcher(network) as batches:
        with pytest.raises(error):
            ask(batches, [1], "bad")
        assert ask(batches, [1], "good") == [1]


def test_a_network_that_loses_results_is_found_out() -> None:
    with (
        batcher(lambda bucket, units: []) as batches,
        pytest.raises(RuntimeError, match="a batch of 1 gave 0 results"),
    ):
        ask(batches, [1])


def test_neither_a_long_iterable_nor_a_slow_reader_fills_memory(network: Network) -> None:
    pulled = itertools.count()

    def endless() -> Iterator[int]:
        for unit in itertools.count():
            next(pulled)
            yield unit

    with batcher(network) as batches, batches.enter() as owner:
        results = owner.map("a", endless())
        assert list(itertools.islice(results, 5)) == [0, 1, 4, 9, 16]
        time.sleep(0.05)
        assert next(pulled) == batches.ahead + 4
        results.close()  # type: ignore[attr-defined] # it is a generator
        assert owner.run("a", [7]) == [49]


def test_one_too_many_is_refused(network: Network) -> None:
    with batcher(network, max_owners=2) as batches:
        with (
            batches.enter(),
            batches.enter(),
            pytest.raises(Full, match="the queue is full: 2"),
            batches.enter(),
        ):
            pass
        assert ask(batches, [1]) == [1]


def test_closing_frees_whoever_waits(network: Network, callers: ThreadPoolExecutor) -> None:
    batches = Batcher(network, workers=2, max_batch=1, max_owners=8)
    network.open.clear()
    waiting = [callers.submit(ask, batches, range(5)) for _ in range(4)]
    until(lambda: len(network.batches) == 2)
    batches.close(timeout=0.05)  # while both workers are in a call that does not end
    for future in waiting:
        with pytest.raises(Closed):
            future.result(SECONDS)
    network.open.set()
    batches.close(SECONDS)
    assert not any(thread.is_alive() for thread in batches._threads)
    assert sum(network.sizes) == 2
    with pytest.raises(Closed), batches.enter():
        pass


def test_closing_an_idle_one_ends_its_threads(network: Network) -> None:
    batches = Batcher(network, workers=3, max_batch=1, max_owners=1, gather=SECONDS)
    batches.close(SECONDS)
    assert not any(thread.is_alive() for thread in batches._threads)


@pytest.mark.parametrize("option", ["workers", "max_batch", "max_owners"])
def test_a_number_below_one_is_refused(network: Network, option: str) -> None:
    with (
        pytest.raises(ValueError, match=f"{option}: must be at least 1; 0 given"),
        batcher(network, **{option: 0}),
    ):
        pass


@pytest.mark.parametrize("seed", range(5))
def test_a_throng_of_callers_that_fail_cancel_and_leave(callers: ThreadPoolExecutor, seed: int) -> None:
    """Each hears exactly its own results or its own failure, and nothing is left behind."""
    chance = random.Random(seed)

    def network(bucket: Hashable, units: list[Any]) -> list[Any]:
        if len(units) > 3 and bucket == "tight":
            raise MemoryError
        if any(unit % 97 == 96 for unit in units):
            raise ArithmeticError
        return [(bucket, unit) for unit in units]

    def caller(number: int) -> str:
        bucket = ("wide", "tight")[number % 2]
        gone, alive = InterruptedError(number), chance.randrange(1, 30)

        def check() -> None:
            nonlocal alive
            alive -= 1
            if alive == 0:
                raise gone

        outcome = "done"
        with batches.enter(check) as owner:
            for step in range(5):
                units = range(number * 50 + step * 10, number * 50 + step * 10 + chance.randrange(1, 10))
                try:
                    assert owner.run(bucket, units) == [(bucket, unit) for unit in units]
                except InterruptedError as error:
                    return "cancelled" if error is gone else "mistaken for another"
                except ArithmeticError:
                    assert any(unit % 97 == 96 for unit in units)
                    outcome = "failed"
        return outcome

    with batcher(network, workers=3, max_batch=8, gather=0.0005) as batches:
        outcomes = list(callers.map(caller, range(200), timeout=SECONDS))
        assert set(outcomes) == {"done", "cancelled", "failed"}
        seen = batches.statistics()
        assert (seen.num_requests, seen.num_requests_running, seen.num_requests_waiting) == (0, 0, 0)
        assert not batches._queue
        assert seen.out_of_memory


def test_a_pools_threads_run_before_they_are_needed() -> None:
    before = threading.active_count()
    with start_threads(8, "request") as pool:
        until(lambda: threading.active_count() == before + 8)
        assert list(pool.map(abs, range(-20, 0), timeout=SECONDS)) == list(range(20, 0, -1))
