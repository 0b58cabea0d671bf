"""The cache over a scripted Triton: who waits for what, what goes when, and what everybody is told."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scrollintel.visual.v1 import errors_pb2
from services.models.cache import loading, moves, recycling
from services.models.cache.cache import Cache
from services.models.cache.ledger import Ledger, Phase, Resident
from services.models.cache.loading import Loader
from services.models.cache.memory import MEBIBYTE
from services.models.cache.moves import Moves, Times
from services.models.cache.recycling import Recycler
from services.models.cache.warmup import read_feed
from services.runtime import deadline
from services.runtime.errors import MeshError
from tests.unit.models.scripted_triton import ScriptedMeter, ScriptedTriton

SIZES = {"pinned": 20, "a": 30, "b": 30, "c": 30, "caller": 30, "giant": 85}  # MiB
BUDGET = 100
TIMES = Times(load=2.0, unload=0.3, drain=0.3, restart=0.5, poll=60.0)
OUT_OF_MEMORY = errors_pb2.ERROR_REASON_OUT_OF_MEMORY
UNAVAILABLE = errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing scripted blocks: without threads a busy machine changes nothing in the order of things."""

    async def at_once(work: Callable[..., Any], *arguments: Any) -> Any:
        return work(*arguments)

    monkeypatch.setattr(asyncio, "to_thread", at_once)
    monkeypatch.setattr(loading, "POLL_SECONDS", 0.01)


@pytest.fixture
def triton() -> ScriptedTriton:
    return ScriptedTriton(known={*SIZES}, loaded={"pinned"})


@asynccontextmanager
async def caching(triton: ScriptedTriton, **choices: Any) -> AsyncIterator[Cache]:
    feeds, growth = choices.pop("feeds", lambda _: None), choices.pop("growth", 1000)
    meter, times = choices.pop("meter", ScriptedMeter(triton)), choices.pop("times", TIMES)
    residents = {
        name: Resident(name, size * MEBIBYTE, name == "pinned", ("a",) if name == "caller" else ())
        for name, size in SIZES.items()
    }
    scripted: Any = triton
    loader = Loader(scripted, meter, feeds, times.restart)
    ledger = Ledger(BUDGET * MEBIBYTE, residents)
    moves = Moves(ledger, loader, Recycler(loader, growth), times, choices.pop("manage", True))
    async with Cache(ledger, moves, absent) as cache:
        yield cache
    assert not choices


def absent(name: str) -> MeshError:
    return MeshError(errors_pb2.ERROR_REASON_MODEL_NEEDS_WEIGHTS, f"build {name}")


async def phases(cache: Cache, name: str) -> list[Phase]:
    async with AsyncExitStack() as lease:
        return [phase async for phase in cache.use(name, lease)]


@asynccontextmanager
async def using(cache: Cache, name: str) -> AsyncIterator[None]:
    async with AsyncExitStack() as lease:
        async for _ in cache.use(name, lease):
            pass
        yield


async def refused(cache: Cache, name: str) -> MeshError:
    with pytest.raises(MeshError) as caught:
        await cache.load(name)
    return caught.value


async def test_what_triton_had_loaded_is_ready_at_once(triton: ScriptedTriton) -> None:
    async with caching(triton) as cache:
        assert await phases(cache, "pinned") == [Phase.READY]
        assert await phases(cache, "a") == [Phase.LOADING, Phase.READY]
        assert await phases(cache, "a") == [Phase.READY]
    assert triton.loads == {"a": 1}


async def test_many_callers_are_one_loading_and_each_is_counted(triton: ScriptedTriton) -> None:
    triton.gate.clear()
    async with caching(triton) as cache:
        tasks = [asyncio.create_task(phases(cache, "a")) for _ in range(100)]
        await settle()
        assert cache.ledger["a"].waiting == 100
        tasks[0].cancel()
        await settle()
        assert cache.ledger["a"].waiting == 99
        triton.gate.set()
        told = await asyncio.gather(*tasks[1:])
        assert all(one == [Phase.LOADING, Phase.READY] for one in told)
        assert (cache.ledger["a"].waiting, cache.ledger["a"].leases) == (0, 0)
    assert triton.loads == {"a": 1}


async def test_a_loading_goes_on_when_its_only_caller_leaves(triton: ScriptedTriton) -> None:
    triton.gate.clear()
    async with caching(triton) as cache:
        task = asyncio.create_task(phases(cache, "a"))
        await settle()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        triton.gate.set()
        await settle()
        assert cache.ledger["a"].phase is Phase.READY
        assert cache.ledger["a"].idle


async def test_a_loading_is_not_cut_short_by_the_deadline_of_who_caused_it(triton: ScriptedTriton) -> None:
    triton.gate.clear()
    async with caching(triton) as cache:
        with deadline.until(0.05):
            first = asyncio.create_task(phases(cache, "a"))
            await settle()
        await asyncio.sleep(0.1)
        triton.gate.set()
        assert await first == [Phase.LOADING, Phase.READY]


async def test_the_least_recently_used_goes_and_the_budget_is_kept(triton: ScriptedTriton) -> None:
    async with caching(triton) as cache:
        for name in ("a", "b", "a", "c"):
            await cache.load(name)
        assert triton.loaded == {"pinned", "a", "c"}
        assert triton.most == 3, "never four, not even for a moment"
        assert cache.ledger.used <= BUDGET * MEBIBYTE


async def test_who_is_in_use_stays_and_who_comes_is_told_whom_to_wait_for(triton: ScriptedTriton) -> None:
    async with caching(triton) as cache, using(cache, "a"), using(cache, "b"):
        error = await refused(cache, "c")
        assert (error.name, "a" in error.message) == ("OVERLOADED", True)
        assert error.retry_after
        assert triton.unloads == {}


async def test_what_fits_in_no_case_is_refused_without_evicting(triton: ScriptedTriton) -> None:
    async with caching(triton) as cache:
        await cache.load("a")
        error = await refused(cache, "giant")
        assert (error.name, error.retry_after) == ("OUT_OF_MEMORY", None)
        assert "giant needs 85 MiB of memory and the pinned models leave 80 of 100 MiB" in error.message
        assert triton.loaded == {"pinned", "a"}


async def test_what_a_model_calls_is_loaded_with_it_and_kept_as_long(triton: ScriptedTriton) -> None:
    async with caching(triton) as cache:
        async with using(cache, "caller"):
            assert triton.loaded == {"pinned", "a", "caller"}
            assert (cache.ledger["a"].leases, cache.ledger["caller"].leases) == (1, 1)
            assert "a" in (await refused(cache, "b")).message
        assert (cache.ledger["a"].leases, cache.ledger["caller"].leases) == (0, 0)


async def test_what_triton_does_not_know_is_told_how_to_build(triton: ScriptedTriton) -> None:
    triton.known.remove("a")
    async with caching(triton) as cache:
        assert (await refused(cache, "a")).message == "build a"
        assert cache.ledger["a"].phase is Phase.UNLOADED


async def test_a_loading_that_fails_is_told_to_all_and_tried_again_by_the_next(
    triton: ScriptedTriton,
) -> None:
    broken = MeshError(errors_pb2.ERROR_REASON_MODEL_FAILED, "broken", retry_after=3.0)
    triton.failures["a"] = [broken]
    triton.gate.clear()
    async with caching(triton) as cache:
        tasks = [asyncio.create_task(cache.load("a")) for _ in range(3)]
        await settle()
        triton.gate.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(one, MeshError) and one.message == "broken" for one in answers)
        assert len({id(one) for one in answers}) == 3, "each its own: callers add to what they raise"
        await cache.load("a")
    assert triton.loads == {"a": 2}


async def test_triton_away_is_waited_for_and_a_loading_it_died_under_begun_again(
    triton: ScriptedTriton,
) -> None:
    triton.failures["a"] = [MeshError(UNAVAILABLE, "died")]
    async with caching(triton) as cache:
        triton.away = True
        task = asyncio.create_task(cache.load("a"))
        await asyncio.sleep(0.05)
        triton.away = False
        await task
        assert triton.loads == {"a": 2}
        triton.away = True
        error = await refused(cache, "b")
        assert (error.name, bool(error.retry_after)) == ("MODEL_UNAVAILABLE", True)


async def test_a_loading_that_takes_too_long_fails(triton: ScriptedTriton) -> None:
    triton.gate.clear()
    times = Times(load=0.05, unload=0.3, drain=0.3, restart=0.5, poll=60.0)
    async with caching(triton, times=times) as cache:
        error = await refused(cache, "a")
        assert error.name == "MODEL_UNAVAILABLE"
        assert "0.05 s" in error.message
        assert cache.ledger["a"].phase is Phase.UNLOADED


@pytest.mark.parametrize("decoupled", [False, True])
async def test_a_model_is_warmed_up_before_it_is_ready(triton: ScriptedTriton, decoupled: bool) -> None:
    triton.decoupled = decoupled
    feed = {"x": np.zeros(1, np.float32)}
    async with caching(triton, feeds=lambda name: feed if name == "a" else None) as cache:
        await cache.load("a")
        await cache.load("b")
        assert triton.asked == [("a", feed)]
        await cache.unload("a")
        triton.refuses = MeshError(errors_pb2.ERROR_REASON_MODEL_FAILED, "cannot")
        assert (await refused(cache, "a")).message == "cannot"
        assert "a" not in triton.loaded, "what cannot answer is not left in memory"


async def test_a_warm_up_that_cannot_be_read_is_told_and_leaves_nothing_loaded(
    triton: ScriptedTriton, tmp_path: Path
) -> None:
    (tmp_path / "a" / "1").mkdir(parents=True)
    (tmp_path / "a" / "1" / "warmup.npz").write_bytes(b"PK\x03\x04 cut short")
    async with caching(triton, feeds=partial(read_feed, tmp_path)) as cache:
        with pytest.raises(
            MeshError, match=r"a: its 1/warmup\.npz cannot be read: .*; build it again"
        ) as caught:
            await cache.load("a")
        assert caught.value.name == "MODEL_FAILED"
        assert triton.loaded == {"pinned"}
        assert cache.ledger["a"].phase is Phase.UNLOADED


async def test_out_of_memory_renews_the_model_once_however_many_report_it(triton: ScriptedTriton) -> None:
    async with caching(triton) as cache:
        await cache.load("a")
        triton.gate.clear()
        cache.report("a", OUT_OF_MEMORY)
        cache.report("a", OUT_OF_MEMORY)
        assert cache.ledger["a"].phase is Phase.QUARANTINED
        following = asyncio.create_task(phases(cache, "a"))
        await settle()
        assert not following.done()
        triton.gate.set()
        assert (await following)[-1] is Phase.READY
    assert (triton.loads["a"], triton.unloads["a"]) == (2, 1)


async def test_a_quarantine_lets_the_work_of_others_end_and_then_waits_no_longer(
    triton: ScriptedTriton,
) -> None:
    async with caching(triton) as cache, using(cache, "a"):
        cache.report("a", OUT_OF_MEMORY)
        await asyncio.sleep(TIMES.drain / 2)
        assert triton.unloads == {}
        await asyncio.sleep(TIMES.drain)
        assert triton.unloads == {"a": 1}


async def test_other_failures_make_the_cache_look_and_nothing_else(triton: ScriptedTriton) -> None:
    async with caching(triton) as cache:
        await cache.load("a")
        triton.loaded.discard("a")
        cache.report("a", UNAVAILABLE)
        await settle()
        assert cache.ledger["a"].phase is Phase.UNLOADED
        await cache.load("a")
    assert triton.loads == {"a": 2}


async def test_what_is_used_and_gone_is_loaded_again_unasked(triton: ScriptedTriton) -> None:
    async with caching(triton) as cache, using(cache, "a"):
        triton.loaded.discard("a")
        await cache.moves.look()
        await settle()
        assert triton.loaded == {"pinned", "a"}
        assert cache.ledger["a"].leases == 1


async def test_what_is_pinned_and_gone_is_loaded_again_until_it_stands(
    triton: ScriptedTriton, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moves, "LIFT_SECONDS", 0.0)
    async with caching(triton) as cache:
        triton.failures["pinned"] = [MeshError(errors_pb2.ERROR_REASON_MODEL_FAILED, "killed as it began")]
        triton.loaded.clear()
        await cache.moves.look()
        await settle()
        assert triton.loaded == set()
        await cache.moves.look()
        await settle()
        assert triton.loaded == {"pinned"}


async def test_a_pinned_model_that_never_loads_recycles_the_server(
    triton: ScriptedTriton, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter, killed = ScriptedMeter(triton, process=1001), list[int]()

    def kill(pid: int, _: int) -> None:
        killed.append(pid)
        meter.process = 1002
        triton.loaded.add("pinned")  # as whenever it starts

    monkeypatch.setattr(recycling.os, "kill", kill)
    async with caching(triton, meter=meter) as cache:
        triton.loaded.clear()
        triton.gate.clear()
        await cache.moves.look()
        async with asyncio.timeout(20):
            while cache.ledger["pinned"].phase is not Phase.READY:
                await asyncio.sleep(0.01)
    assert killed == [1001]


async def test_what_has_no_build_any_more_is_unloaded_once_nobody_uses_it(triton: ScriptedTriton) -> None:
    meter = ScriptedMeter(triton, {"a": MEBIBYTE, "b": MEBIBYTE, "pinned": MEBIBYTE}, process=os.getpid())
    async with caching(triton, meter=meter) as cache:
        await cache.load("b")
        async with using(cache, "a"):
            triton.known -= {"a", "pinned"}  # Triton tells of them no more, and answers requests all the same
            triton.failures["a"] = [MeshError(errors_pb2.ERROR_REASON_MODEL_FAILED, "no such directory")]
            await cache.moves.look()
            await settle()
            await cache.moves.look()
            assert triton.loaded == {"pinned", "a", "b"}
        await cache.moves.look()
        assert triton.loaded == {"pinned", "b"}
    assert triton.unloads == {"a": 1}


async def test_unloading_waits_for_the_work_to_end_or_leaves_the_model(triton: ScriptedTriton) -> None:
    async with caching(triton) as cache:
        async with using(cache, "a"):
            with pytest.raises(MeshError) as caught:
                await cache.unload("a")
            assert caught.value.name == "OVERLOADED"
            assert cache.ledger["a"].phase is Phase.READY
            unloading = asyncio.create_task(cache.unload("a"))
            await settle()
            following = asyncio.create_task(phases(cache, "a"))
            await settle()
            assert not following.done(), "nobody new while it drains"
        await unloading
        assert (await following)[-1] is Phase.READY
    assert (triton.loads["a"], triton.unloads["a"]) == (2, 1)


async def test_what_is_not_loaded_is_unloaded_and_what_is_pinned_never(triton: ScriptedTriton) -> None:
    async with caching(triton) as cache:
        await cache.unload("a")
        with pytest.raises(MeshError, match="pinned"):
            await cache.unload("pinned")
    assert triton.unloads == {}


async def test_where_triton_alone_decides_leases_are_all_there_is(triton: ScriptedTriton) -> None:
    async with caching(triton, manage=False) as cache:
        assert await phases(cache, "pinned") == [Phase.READY]
        assert (await refused(cache, "a")).name == "MODEL_UNAVAILABLE"
        with pytest.raises(MeshError, match="UNIMPLEMENTED"):
            await cache.unload("pinned")
        cache.report("pinned", OUT_OF_MEMORY)
        assert cache.ledger["pinned"].phase is Phase.READY
    assert triton.loads == {}


async def test_what_grew_beyond_the_budget_makes_idle_ones_go(triton: ScriptedTriton) -> None:
    meter = ScriptedMeter(triton, {"a": 60 * MEBIBYTE}, process=os.getpid())
    async with caching(triton, meter=meter) as cache:
        await cache.load("b")
        await cache.load("a")  # declared 30, measured 60: 20 + 30 + 60 is too much
        await settle()
        assert triton.loaded == {"pinned", "a"}
        assert cache.ledger.used == 80 * MEBIBYTE


async def test_what_grew_beyond_all_room_is_loaded_again_all_the_same(triton: ScriptedTriton) -> None:
    meter = ScriptedMeter(triton, process=os.getpid())
    async with caching(triton, meter=meter) as cache:
        async with using(cache, "a"):
            meter.models["a"] = 90 * MEBIBYTE  # one large request; the pinned model leaves 80
            await cache.moves.look()
        await cache.moves.look()
        await settle()
        assert triton.loaded == {"pinned"}
        meter.models.clear()
        await cache.load("a")
        assert triton.loaded == {"pinned", "a"}


@pytest.mark.parametrize("leased", [False, True])
async def test_memory_that_does_not_come_back_recycles_the_server(
    triton: ScriptedTriton, monkeypatch: pytest.MonkeyPatch, leased: bool
) -> None:
    meter = ScriptedMeter(triton, dict.fromkeys(SIZES, 1), process=1001, server=50)
    killed: list[tuple[int, int]] = []

    def kill(pid: int, number: int) -> None:
        killed.append((pid, number))
        triton.loaded = {"pinned"}
        meter.process, meter.server = 1002, 50

    monkeypatch.setattr(recycling.os, "kill", kill)
    async with caching(triton, meter=meter, growth=10) as cache:
        await cache.load("a")
        await cache.load("b")
        meter.server = 61
        async with AsyncExitStack() as stack:
            if leased:
                await stack.enter_async_context(using(cache, "b"))
            await cache.unload("a")
            await settle()
            assert bool(killed) is not leased, "not while somebody works"
            following = asyncio.create_task(cache.load("c"))
            await settle()
        await following
        assert killed == [(1001, signal.SIGTERM)]
        assert triton.loaded == {"pinned", "c"}
        assert cache.ledger["b"].phase is Phase.UNLOADED
        await cache.unload("c")
        await settle()
        assert len(killed) == 1, "what the new one begins with is no growth"


async def test_a_worker_that_does_not_end_recycles_the_server_too(
    triton: ScriptedTriton, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clinging(ScriptedMeter):
        def measure(self) -> Any:
            measured = super().measure()
            assert measured is not None
            return measured if self.process == 1002 else type(measured)(measured.pid, {"a": 30}, 0)

    meter = Clinging(triton, process=1001)
    monkeypatch.setattr(recycling.os, "kill", lambda *_: setattr(meter, "process", 1002))
    async with caching(triton, meter=meter) as cache:
        await cache.load("a")
        await cache.unload("a")
        await asyncio.sleep(0.1)
        assert meter.process == 1002
        assert cache.ledger["a"].phase is Phase.UNLOADED


async def test_models_inside_the_server_process_are_no_growth(
    triton: ScriptedTriton, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[int] = []
    monkeypatch.setattr(recycling.os, "kill", lambda pid, _: killed.append(pid))
    meter = ScriptedMeter(triton, process=1001, server=50)  # nobody has workers: a backend of Triton's own
    async with caching(triton, meter=meter, growth=10) as cache:
        await cache.load("a")
        await cache.load("b")
        meter.server = 60 + SIZES["a"] * MEBIBYTE
        await cache.unload("b")
        await settle()
        assert not killed
        meter.server += 11
        await cache.unload("a")
        await settle()
        assert killed == [1001]


async def test_a_server_out_of_reach_is_not_recycled_and_serves_on(triton: ScriptedTriton) -> None:
    meter = ScriptedMeter(triton, process=1001)
    async with caching(triton, meter=meter, growth=10) as cache:
        await cache.load("a")
        meter.server = 11
        meter.pid = lambda: None  # type: ignore[method-assign]
        await cache.unload("a")
        await settle()
        await cache.load("a")
        assert triton.loaded == {"pinned", "a"}


@pytest.mark.asyncio(loop_scope="function")  # the session's loop has tasks of other tests
async def test_leaving_ends_every_task(triton: ScriptedTriton) -> None:
    before = asyncio.all_tasks()
    triton.gate.clear()
    async with caching(triton) as cache:
        task = asyncio.create_task(cache.load("a"))
        await settle()
        task.cancel()
    await settle()
    assert asyncio.all_tasks() <= before


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0.005)
