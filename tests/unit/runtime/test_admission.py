"""Admission never lets more in than it may, forgets nobody, and refuses at once when full."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrollintel.visual.v1 import errors_pb2
from services.runtime.admission import Admission
from services.runtime.errors import MeshError


async def hold(admission: Admission, gate: asyncio.Event, log: list | None = None) -> None:
    async with admission.enter(None if log is None else lambda *told: log.append(told)):
        await gate.wait()


async def test_the_queue_moves_in_order_and_tells_positions():
    admission, gate, log = Admission(running=1, waiting=2, seconds=10), asyncio.Event(), []
    first = asyncio.create_task(hold(admission, gate))
    await asyncio.sleep(0)
    second = asyncio.create_task(hold(admission, gate))
    third = asyncio.create_task(hold(admission, gate, log))
    await asyncio.sleep(0)
    assert log == [(2, 20)]
    second.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert log[-1] == (1, 10)
    gate.set()
    await asyncio.gather(first, third)
    assert (admission.active, admission.queued) == (0, 0)


async def test_full_is_refused_at_once_with_what_helps_to_act():
    admission, gate = Admission(running=1, waiting=1, seconds=3), asyncio.Event()
    tasks = [asyncio.create_task(hold(admission, gate)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(MeshError) as caught:
        async with admission.enter():
            pass
    assert (caught.value.queue_position, caught.value.retry_after) == (2, 6)
    gate.set()
    await asyncio.gather(*tasks)


@settings(max_examples=60, deadline=None)
@given(
    running=st.integers(1, 3),
    waiting=st.integers(0, 4),
    plan=st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=14),
)
def test_limits_hold_and_nothing_leaks_under_any_mix_of_arrivals_and_cancels(running, waiting, plan):
    async def scenario() -> None:
        admission = Admission(running=running, waiting=waiting, seconds=1)
        seen = []

        async def call(ticks: int) -> None:
            async with admission.enter():
                seen.append(admission.active)
                for _ in range(ticks):
                    await asyncio.sleep(0)

        tasks = []
        for ticks, cancel in plan:
            tasks.append(asyncio.create_task(call(ticks)))
            await asyncio.sleep(0)
            assert admission.queued <= waiting
            if cancel:
                tasks[ticks % len(tasks)].cancel()
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)
        assert all(r is None or isinstance(r, MeshError | asyncio.CancelledError) for r in results)
        assert max(seen, default=0) <= running
        assert (admission.active, admission.queued) == (0, 0)

    asyncio.run(scenario())


async def test_more_room_lets_those_who_wait_in_at_once_and_tells_the_rest_where_they_stand():
    admission, gate, log = Admission(running=1, waiting=4, seconds=10), asyncio.Event(), []
    tasks = [asyncio.create_task(hold(admission, gate)) for _ in range(4)]
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(hold(admission, gate, log)))
    await asyncio.sleep(0)
    assert (admission.active, admission.queued, log[-1]) == (1, 4, (4, 40))
    admission.resize(4)
    await asyncio.sleep(0)
    assert (admission.active, admission.queued, log[-1]) == (4, 1, (1, 2.5))
    gate.set()
    await asyncio.gather(*tasks)
    assert (admission.active, admission.queued) == (0, 0)


async def test_less_room_lets_those_who_are_in_finish_and_nobody_else_in_before():
    admission = Admission(running=3, waiting=4, seconds=10)
    gates = [asyncio.Event() for _ in range(5)]
    tasks = [asyncio.create_task(hold(admission, gate)) for gate in gates]
    await asyncio.sleep(0)
    admission.resize(1)
    for gate, active in zip(gates, (2, 1, 1, 1, 0), strict=True):
        gate.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert admission.active == active
    await asyncio.gather(*tasks)
    assert (admission.active, admission.queued) == (0, 0)


async def test_who_waits_is_told_that_the_queue_moves_slower_with_less_room():
    admission, gate, log = Admission(running=2, waiting=4, seconds=10), asyncio.Event(), []
    tasks = [asyncio.create_task(hold(admission, gate)) for _ in range(2)]
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(hold(admission, gate, log)))
    await asyncio.sleep(0)
    admission.resize(1)
    assert log == [(1, 5), (1, 10)]
    gate.set()
    await asyncio.gather(*tasks)


async def test_who_waits_is_turned_away_and_who_is_in_stays():
    admission, gate = Admission(running=1, waiting=4, seconds=1), asyncio.Event()
    first, second, third = (asyncio.create_task(hold(admission, gate)) for _ in range(3))
    await asyncio.sleep(0)
    third.cancel()
    admission.turn_away(lambda: MeshError(errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE, "it is gone"))
    with pytest.raises(MeshError, match="it is gone"):
        await second
    with pytest.raises(asyncio.CancelledError):
        await third
    assert (admission.active, admission.queued) == (1, 0)
    gate.set()
    await first
    assert admission.active == 0


async def test_turned_away_and_cancelled_at_once_leaves_no_slot_behind():
    admission, gate = Admission(running=1, waiting=4, seconds=1), asyncio.Event()
    first, second = (asyncio.create_task(hold(admission, gate)) for _ in range(2))
    await asyncio.sleep(0)
    admission.turn_away(lambda: MeshError(errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE, "it is gone"))
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    assert (admission.active, admission.queued) == (1, 0)
    gate.set()
    await first
    assert admission.active == 0


@settings(max_examples=60, deadline=None)
@given(plan=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 4)), min_size=1, max_size=14))
def test_limits_hold_and_nothing_leaks_while_the_room_changes(plan):
    async def scenario() -> None:
        admission = Admission(running=2, waiting=20, seconds=1)
        most = 2

        async def call(ticks: int) -> None:
            async with admission.enter():
                assert admission.active <= most
                for _ in range(ticks):
                    await asyncio.sleep(0)

        tasks = []
        for ticks, running in plan:
            tasks.append(asyncio.create_task(call(ticks)))
            await asyncio.sleep(0)
            most = max(running, admission.active)  # who is in stays
            admission.resize(running)
            assert admission.active >= min(running, admission.active + admission.queued)
        await asyncio.wait_for(asyncio.gather(*tasks), 20)
        assert (admission.active, admission.queued) == (0, 0)

    asyncio.run(scenario())
