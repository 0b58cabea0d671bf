"""Messages that are waited for: up to a limit between two, and up to one altogether."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.runtime.errors import MeshError
from services.runtime.streams import Patience, arriving

LONG = 60.0


async def every(seconds: float, count: int) -> AsyncIterator[int]:
    for number in range(count):
        await asyncio.sleep(seconds)
        yield number


async def all_of(messages: AsyncIterator[int]) -> list[int]:
    return [number async for number in messages]


async def test_messages_come_in_order_and_end() -> None:
    assert await all_of(arriving(every(0, 5), "the video", Patience(LONG, LONG))) == list(range(5))


async def test_a_stream_that_falls_silent_is_ended() -> None:
    messages = arriving(every(LONG, 1), "the video", Patience(0.01, LONG))
    with pytest.raises(MeshError, match=r"no message of the video came for 0\.01 s") as caught:
        await anext(messages)
    assert caught.value.name == "DEADLINE_EXCEEDED"


async def test_a_trickle_is_ended_though_no_wait_was_long() -> None:
    with pytest.raises(MeshError, match=r"kept the server waiting for 0\.05 s"):
        await all_of(arriving(every(0.01, 1000), "the video", Patience(LONG, 0.05)))


async def test_work_between_messages_is_not_the_callers_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, worked = asyncio.get_running_loop(), 0.0
    clock = loop.time
    monkeypatch.setattr(loop, "time", lambda: clock() + worked)
    async for _ in arriving(every(0, 3), "the video", Patience(LONG, LONG)):
        worked += LONG
