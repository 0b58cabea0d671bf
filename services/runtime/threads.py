"""Blocking work in threads, noted where somebody has to know when the last of them has ended.

A thread cannot be stopped: when the code that waits for it is cancelled, it goes on, with the memory that it holds.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

Threads = set[asyncio.Future[Any]]

# As many as the event loop has of its own, and apart from those: whoever waits for a short text to be read (`to_thread`)
# does not wait for large pictures.
_pool = ThreadPoolExecutor(min(32, (os.cpu_count() or 1) + 4), "media")

_noted: ContextVar[Threads | None] = ContextVar("threads", default=None)


@contextmanager
def noted() -> Iterator[Threads]:
    """Give a set that holds, at any time, the threads which `in_thread` began in this context and that have not ended.

    Tasks that are made inside belong to the context, and note theirs even after it was left.
    """
    running: Threads = set()
    token = _noted.set(running)
    try:
        yield running
    finally:
        _noted.reset(token)


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do as `asyncio.to_thread` does in threads for media, and note the thread until it has ended, whoever waits for it."""
    work = partial(copy_context().run, function, *args, **kwargs)
    thread = asyncio.get_running_loop().run_in_executor(_pool, work)
    running = _noted.get()
    if running is not None:
        running.add(thread)
        thread.add_done_callback(running.discard)
    thread.add_done_callback(
        lambda done: done.cancelled() or done.exception()
    )  # nobody may be left to read it
    try:
        return await asyncio.shield(thread)
    finally:
        del (
            thread,
            work,
        )  # an error and the thread that holds it would hold each other, and with them the arguments
