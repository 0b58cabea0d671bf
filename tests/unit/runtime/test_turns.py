"""Work in turn: who leaves early does not let the next one in before its thread has ended."""

import asyncio
import threading

import pytest

from scrollintel.visual.v1 import errors_pb2
from services.runtime import deadline
from services.runtime.admission import Admission
from services.runtime.errors import MeshError
from services.runtime.threads import in_thread
from services.runtime.turns import in_turn, turn_with_threads

LONG = 30.0


def late() -> MeshError:
    return MeshError(errors_pb2.ERROR_REASON_SAFETY_UNCHECKED, "too late")


async def test_who_leaves_early_leaves_its_turn_to_the_work() -> None:
    turns, going, ended = Admission(1, 1, 1.0), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        going.set()
        await ended.wait()

    first = asyncio.create_task(in_turn(turns, LONG, work, late))
    await going.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert turns.active == 1
    second = asyncio.create_task(in_turn(turns, LONG, asyncio.Event().wait, late))
    await asyncio.sleep(0)
    assert turns.queued == 1
    ended.set()
    while turns.queued:
        await asyncio.sleep(0)
    second.cancel()


async def test_work_that_takes_too_long_is_told_so_and_keeps_its_turn() -> None:
    turns, ended = Admission(1, 0, 1.0), asyncio.Event()
    with pytest.raises(MeshError) as caught:
        await in_turn(turns, 0.0, ended.wait, late)
    assert caught.value.reason == errors_pb2.ERROR_REASON_SAFETY_UNCHECKED
    assert turns.active == 1
    with pytest.raises(MeshError) as caught:
        await in_turn(turns, LONG, ended.wait, late)
    assert caught.value.reason == errors_pb2.ERROR_REASON_OVERLOADED
    ended.set()
    while turns.active:
        await asyncio.sleep(0)


async def test_what_the_work_raises_is_raised_and_the_turn_given_back() -> None:
    turns = Admission(1, 0, 1.0)

    async def work() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        await in_turn(turns, LONG, work, late)
    assert turns.active == 0


async def test_nothing_is_begun_for_a_caller_whose_time_is_over() -> None:
    turns = Admission(1, 0, 1.0)

    async def work() -> None:
        raise AssertionError("was begun")

    with deadline.until(0.0), pytest.raises(MeshError) as caught:
        await in_turn(turns, LONG, work, late)
    assert caught.value.reason == errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED
    assert turns.active == 0


async def test_a_turn_is_held_until_threads_have_ended_that_were_left_behind() -> None:
    turns, ended = Admission(1, 0, 1.0), threading.Event()
    with pytest.raises(TimeoutError):
        async with turn_with_threads(turns), asyncio.timeout(0.01):
            await in_thread(ended.wait, LONG)
    assert turns.active == 1
    ended.set()
    while turns.active:
        await asyncio.sleep(0)


async def test_threads_of_tasks_count_and_those_of_others_do_not() -> None:
    turns, ours, theirs = Admission(1, 0, 1.0), threading.Event(), threading.Event()
    other = asyncio.create_task(in_thread(theirs.wait, LONG))
    async with turn_with_threads(turns):
        task = asyncio.create_task(in_thread(ours.wait, LONG))
        await asyncio.sleep(0)
        task.cancel()
    assert turns.active == 1
    ours.set()
    while turns.active:
        await asyncio.sleep(0)
    assert not other.done()
    theirs.set()
    await other


async def test_a_turn_without_threads_is_given_back_at_once() -> None:
    turns = Admission(1, 0, 1.0)
    async with turn_with_threads(turns):
        await in_thread(len, "done")
        assert turns.active == 1
    assert turns.active == 0
