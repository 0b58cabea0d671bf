import asyncio

import pytest

from services.orchestrator.streams import merged


async def numbers(*values, gate=None, left=None):
    try:
        for value in values:
            if gate is not None:
                await gate.wait()
            yield value
    finally:
        if left is not None:
            left.set()


async def collected(streams):
    return [item async for item in merged(streams)]


async def test_everything_comes_once_in_each_streams_order():
    found = await collected({"a": numbers(1, 2, 3), "b": numbers(), "c": numbers(4, 5)})
    assert [item for name, item in found if name == "a"] == [1, 2, 3]
    assert [item for name, item in found if name == "c"] == [4, 5]
    assert len(found) == 5


async def test_a_stream_that_waits_holds_no_other_up():
    gate = asyncio.Event()
    stream = merged({"slow": numbers(9, gate=gate), "quick": numbers(1, 2)})
    assert [await anext(stream), await anext(stream)] == [("quick", 1), ("quick", 2)]
    gate.set()
    assert [item async for item in stream] == [("slow", 9)]


@pytest.mark.asyncio(loop_scope="function")  # the session's loop has tasks of other tests
async def test_who_stops_reading_leaves_no_stream_open():
    before, gate, left = asyncio.all_tasks(), asyncio.Event(), asyncio.Event()
    stream = merged({"slow": numbers(9, gate=gate, left=left), "quick": numbers(1)})
    await anext(stream)
    await stream.aclose()
    assert left.is_set()
    assert asyncio.all_tasks() <= before


@pytest.mark.asyncio(loop_scope="function")  # the session's loop has tasks of other tests
async def test_a_streams_failure_is_told():
    async def broken():
        yield 1
        raise ValueError("broken")

    before = asyncio.all_tasks()
    with pytest.raises(ValueError, match="broken"):
        await collected({"a": broken(), "b": numbers(1, gate=asyncio.Event())})
    assert asyncio.all_tasks() <= before
