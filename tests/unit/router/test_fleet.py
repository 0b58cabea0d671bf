"""The fleet keeps what is known of each backend true, and tells whoever watches."""

import asyncio
from contextlib import aclosing

import pytest

from router.breaker import Fault
from router.fleet import Fleet
from router.probing import probe, probing
from router.snapshot import State
from services.runtime.errors import MeshError
from tests.unit.router.scripted import ScriptedBackend, entry

LATE = 20.0  # seconds: what has not come by then does not come


def fleet_of(*entries):
    backends = {}

    def adapt(one):
        return backends.setdefault(one.model, ScriptedBackend(one))

    return Fleet.of(entries or [entry()], adapt), backends


def state(fleet, name="triton/alpha"):
    return next(view.state for view in fleet.snapshot().backends if view.name == name)


async def until(fleet, wanted, name="triton/alpha"):
    async with asyncio.timeout(LATE), aclosing(fleet.watch()) as views:
        async for view in views:
            if (view.name, view.state) == (name, wanted):
                return


async def test_unavailable_until_probed_and_followed_from_then_on():
    fleet, backends = fleet_of()
    assert state(fleet) is State.UNAVAILABLE
    async with probing(fleet, interval=0.002, timeout=1):
        for health in (State.READY, State.NEEDS_WEIGHTS, State.UNAVAILABLE, State.READY):
            backends["alpha"].health = health
            await until(fleet, health)


async def test_a_probe_that_hangs_or_raises_holds_up_no_other(monkeypatch):
    fleet, backends = fleet_of(entry("alpha"), entry("beta"), entry("gamma"))

    async def hang():
        await asyncio.sleep(60)

    async def crash():
        raise RuntimeError("an adapter's mistake")

    monkeypatch.setattr(backends["alpha"], "probe", hang)
    monkeypatch.setattr(backends["beta"], "probe", crash)
    async with probing(fleet, interval=0.002, timeout=0.05):
        assert state(fleet, "triton/alpha") is State.UNAVAILABLE
        assert state(fleet, "triton/beta") is State.UNAVAILABLE
        assert state(fleet, "triton/gamma") is State.READY
        backends["gamma"].health = State.UNAVAILABLE
        await until(fleet, State.UNAVAILABLE, "triton/gamma")


async def test_a_failure_overtakes_the_probe_that_was_under_way(monkeypatch):
    fleet, backends = fleet_of()
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow():
        asked.set()
        await answer.wait()
        return State.READY

    monkeypatch.setattr(backends["alpha"], "probe", slow)
    probing_now = asyncio.create_task(probe(fleet, "triton/alpha", 1))
    await asked.wait()
    fleet.fail("triton/alpha")
    answer.set()
    await probing_now
    assert state(fleet) is State.UNAVAILABLE, "the answer was given before the failure"
    await probe(fleet, "triton/alpha", 1)
    assert state(fleet) is State.READY


async def test_one_late_answer_is_forgiven_and_three_are_not():
    backend = ScriptedBackend(entry())
    fleet = Fleet.of([backend.entry], lambda _: backend, misses=3)
    await probe(fleet, "triton/alpha", 1)
    for health, known in [
        (State.UNAVAILABLE, State.READY),
        (State.UNAVAILABLE, State.READY),
        (State.READY, State.READY),
        (State.UNAVAILABLE, State.READY),
        (State.UNAVAILABLE, State.READY),
        (State.UNAVAILABLE, State.UNAVAILABLE),
        (State.READY, State.READY),
    ]:
        backend.health = health
        await probe(fleet, "triton/alpha", 1)
        assert state(fleet) is known


async def test_draining_is_the_operators_wish_and_away_is_away():
    fleet, backends = fleet_of()
    await probe(fleet, "triton/alpha", 1)
    assert fleet.drain("triton/alpha", True).state is State.DRAINING
    backends["alpha"].health = State.UNAVAILABLE
    await probe(fleet, "triton/alpha", 1)
    assert state(fleet) is State.UNAVAILABLE
    backends["alpha"].health = State.READY
    await probe(fleet, "triton/alpha", 1)
    assert state(fleet) is State.DRAINING, "the wish outlives a restart of the backend"
    assert fleet.drain("triton/alpha", False).state is State.READY
    with pytest.raises(KeyError):
        fleet.drain("triton/omega", True)


async def test_room_is_bounded_and_given_back():
    fleet, _ = fleet_of()
    async with fleet.turn("triton/alpha"):
        assert fleet.snapshot().backends[0].in_flight == 1
        second = asyncio.create_task(fleet.turn("triton/alpha").__aenter__())
        await asyncio.sleep(0)
        assert fleet.snapshot().backends[0].waiting == 1
        with pytest.raises(MeshError, match="OVERLOADED"):
            await fleet.turn("triton/alpha").__aenter__()
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        assert fleet.snapshot().backends[0].waiting == 0
    assert fleet.snapshot().backends[0].in_flight == 0


async def test_watchers_are_told_everything_once_and_then_what_changes():
    fleet, _ = fleet_of(entry("alpha"), entry("beta"))
    async with aclosing(fleet.watch()) as views:
        first = [await anext(views), await anext(views)]
        assert [view.name for view in first] == ["triton/alpha", "triton/beta"]
        await probe(fleet, "triton/beta", 1)
        changed = await asyncio.wait_for(anext(views), LATE)
        assert (changed.name, changed.state) == ("triton/beta", State.READY)
        await probe(fleet, "triton/beta", 1)  # confirms, changes nothing
        async with fleet.turn("triton/alpha"):
            changed = await asyncio.wait_for(anext(views), LATE)
        assert (changed.name, changed.in_flight) == ("triton/alpha", 1)


async def test_a_slow_watcher_gets_the_latest_and_no_backlog():
    fleet, _ = fleet_of()
    async with aclosing(fleet.watch()) as views:
        await anext(views)
        await probe(fleet, "triton/alpha", 1)
        for _ in range(100):
            fleet.drain("triton/alpha", False)
            fleet.drain("triton/alpha", True)
        latest = await asyncio.wait_for(anext(views), LATE)
        assert latest.state is State.DRAINING
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(views), 0.02)


def trust(fleet, name="triton/alpha"):
    """Return how many it may run, and how many its admission lets in."""
    member = fleet.members[name]
    assert member.view().allowance == member.breaker.allowance
    return member.breaker.allowance, member.admission.running


async def test_what_went_away_comes_back_one_run_at_a_time():
    fleet, _ = fleet_of(entry(concurrency=4, queue=8))
    await probe(fleet, "triton/alpha", 1)
    assert trust(fleet) == (4, 4)
    fleet.fail("triton/alpha")
    assert (state(fleet), trust(fleet)[0]) == (State.UNAVAILABLE, 0)
    with pytest.raises(MeshError, match="MODEL_UNAVAILABLE"):
        await fleet.turn("triton/alpha").__aenter__()
    await probe(fleet, "triton/alpha", 1)
    assert (state(fleet), trust(fleet)) == (State.READY, (1, 1))
    member = fleet.members["triton/alpha"]
    async with fleet.turn("triton/alpha"):
        second = asyncio.create_task(fleet.turn("triton/alpha").__aenter__())
        await asyncio.sleep(0)
        assert member.admission.queued == 1, "what is beyond its allowance waits"
        fleet.note(member, None, member.breaker.spell)
        await asyncio.sleep(0)
        assert (trust(fleet), member.admission.active) == ((2, 2), 2)
    await second
    fleet.note(member, None, member.breaker.spell)
    assert trust(fleet) == (4, 4)


async def test_who_waits_at_a_backend_that_goes_away_is_sent_on_at_once():
    fleet, _ = fleet_of(entry(queue=4))
    await probe(fleet, "triton/alpha", 1)
    async with fleet.turn("triton/alpha"):
        waiting = asyncio.create_task(fleet.turn("triton/alpha").__aenter__())
        await asyncio.sleep(0)
        fleet.fail("triton/alpha")
        with pytest.raises(MeshError, match="MODEL_UNAVAILABLE") as caught:
            await asyncio.wait_for(waiting, LATE)
        assert caught.value.retry_after > 0
        assert fleet.snapshot().backends[0].waiting == 0


async def test_one_that_fails_again_and_again_rests_though_it_answers_its_probes():
    fleet, _ = fleet_of()
    await probe(fleet, "triton/alpha", 1)
    member = fleet.members["triton/alpha"]
    for _ in range(3):
        assert state(fleet) is State.READY
        fleet.note(member, Fault.FAILED, member.breaker.spell)
    await probe(fleet, "triton/alpha", 1)
    assert state(fleet) is State.UNAVAILABLE, "its pause is not over"
    assert member.probed is State.READY


async def test_unanswered_probes_open_and_the_first_answer_lets_one_run_through():
    fleet, backends = fleet_of(entry(concurrency=4))
    await probe(fleet, "triton/alpha", 1)
    backends["alpha"].health = State.UNAVAILABLE
    await probe(fleet, "triton/alpha", 1)
    backends["alpha"].health = State.READY
    await probe(fleet, "triton/alpha", 1)
    assert trust(fleet) == (1, 1)


async def test_a_watcher_is_told_how_trust_returns():
    fleet, _ = fleet_of(entry(concurrency=4))
    await probe(fleet, "triton/alpha", 1)
    member = fleet.members["triton/alpha"]
    seen = []
    async with aclosing(fleet.watch()) as views:
        seen.append((await anext(views)).allowance)
        fleet.fail("triton/alpha")
        seen.append((await anext(views)).allowance)
        await probe(fleet, "triton/alpha", 1)
        seen.append((await anext(views)).allowance)
        for _ in range(2):
            fleet.note(member, None, member.breaker.spell)
            seen.append((await anext(views)).allowance)
    assert seen == [4, 0, 1, 2, 4]
