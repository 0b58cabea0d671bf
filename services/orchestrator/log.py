"""The events of one generation, numbered without gaps, kept within bounds, read by any number of watchers."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from scrollintel.visual.v1.events_pb2 import Preview, Queued, Step
from scrollintel.visual.v1.generation_pb2 import GenerationEvent

MAX_EVENTS = (
    2_000  # beyond this the frequent ones are no longer recorded; all else is a few events per picture
)
FREQUENT = (Queued, Step, Preview)
KEPT_PREVIEWS = 16  # one for each picture of the largest request

TERMINAL = frozenset({"completed", "failed"})

# Which field of the event carries a message of which type.
FIELD_OF = {
    field.message_type.full_name: field.name
    for field in GenerationEvent.DESCRIPTOR.oneofs_by_name["event"].fields
    if field.message_type is not None
}


class EventLog:
    """Numbers events from 1 and holds them for replay. Belongs to one event loop.

    A watcher owns no queue: it reads on from the number it has reached, so a slow one costs no memory.
    Of old previews only the number and the time are kept; their pictures are dropped, and all of them at the end.
    """

    def __init__(self, generation_id: str) -> None:
        self.generation_id = generation_id
        self.ended = False
        self._events: list[GenerationEvent] = []
        self._previews: deque[int] = deque()
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._events)

    def append(self, payload: Message) -> None:
        """Record one moment. After a terminal event nothing is recorded any more."""
        if self.ended or (len(self._events) >= MAX_EVENTS and isinstance(payload, FREQUENT)):
            return
        field = FIELD_OF[payload.DESCRIPTOR.full_name]
        event = GenerationEvent(generation_id=self.generation_id, sequence=len(self._events) + 1, time=_now())
        getattr(event, field).CopyFrom(payload)
        self._events.append(event)
        if field == "preview":
            self._previews.append(event.sequence)
        self.ended = field in TERMINAL
        self._drop_previews(0 if self.ended else KEPT_PREVIEWS)
        self._changed.set()
        self._changed = asyncio.Event()

    def read(self, sequence: int) -> GenerationEvent | None:
        """Return the event with this number, or None when it has not happened."""
        return self._events[sequence - 1] if 0 < sequence <= len(self._events) else None

    async def watch(self, after: int = 0) -> AsyncIterator[GenerationEvent]:
        """Yield the events with a number above `after`, then those still to come, up to the terminal one."""
        sequence = after + 1
        while True:
            while (event := self.read(sequence)) is not None:
                yield event
                sequence += 1
            if self.ended:
                return
            await self._changed.wait()

    def _drop_previews(self, keep: int) -> None:
        while len(self._previews) > keep:
            sequence = self._previews.popleft()
            thin = GenerationEvent()
            thin.CopyFrom(
                self._events[sequence - 1]
            )  # a watcher may hold the event itself: replace, never change
            thin.preview.ClearField("image")
            self._events[sequence - 1] = thin


def _now() -> Timestamp:
    now = Timestamp()
    now.GetCurrentTime()
    return now
