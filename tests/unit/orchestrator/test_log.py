import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrollintel.visual.v1.events_pb2 import Checked, Output, Preview, Queued, Routed, Scored, Step
from scrollintel.visual.v1.generation_pb2 import Completed, Failed
from services.orchestrator.log import FIELD_OF, KEPT_PREVIEWS, MAX_EVENTS, EventLog

LATE = 20.0  # seconds: what has not come by then does not come

payloads = st.sampled_from(
    [Queued(), Checked(), Routed(), Step(k=1, n=2), Preview(image=b"x"), Output(), Scored()]
)


def events(log, after=0):
    found = []
    while (event := log.read(after + len(found) + 1)) is not None:
        found.append(event)
    return found


def test_every_payload_of_the_contract_has_its_field():
    assert set(FIELD_OF.values()) == {
        "queued", "checked", "prompt_enhanced", "routed", "step", "preview", "fallback",
        "output", "scored", "judged", "completed", "failed",
    }  # fmt: skip


@settings(deadline=None)
@given(st.lists(payloads), st.sampled_from([Completed(), Failed()]), st.lists(payloads | st.just(Failed())))
def test_numbers_have_no_gaps_and_nothing_follows_the_terminal_event(before, terminal, after):
    log = EventLog("g")
    for payload in [*before, terminal, *after]:
        log.append(payload)
    found = events(log)
    assert [event.sequence for event in found] == list(range(1, len(before) + 2))
    kinds = [event.WhichOneof("event") for event in found]
    assert kinds[-1] in {"completed", "failed"}
    assert sum(kind in {"completed", "failed"} for kind in kinds) == 1
    assert log.ended


def test_only_the_latest_previews_keep_their_picture_and_none_at_the_end():
    log = EventLog("g")
    for index in range(3 * KEPT_PREVIEWS):
        log.append(Preview(index=index, image=b"png"))
    with_picture = [event.preview.index for event in events(log) if event.preview.image]
    assert with_picture == list(range(2 * KEPT_PREVIEWS, 3 * KEPT_PREVIEWS))
    log.append(Completed())
    assert len(log) == 3 * KEPT_PREVIEWS + 1
    assert not any(event.preview.image for event in events(log))


def test_an_event_that_a_watcher_holds_does_not_change():
    log = EventLog("g")
    log.append(Preview(image=b"png"))
    held = log.read(1)
    log.append(Completed())
    assert held is not None
    assert held.preview.image == b"png"


def test_frequent_events_are_bounded_and_all_else_is_recorded():
    log = EventLog("g")
    for _ in range(MAX_EVENTS + 500):
        log.append(Queued(position=1))
    for _ in range(500):
        log.append(Step(k=1, n=1))
        log.append(Preview(image=b"x"))
    assert len(log) == MAX_EVENTS
    log.append(Output(index=3))
    log.append(Completed())
    assert [event.WhichOneof("event") for event in events(log, MAX_EVENTS)] == ["output", "completed"]
    assert log.read(MAX_EVENTS + 2).sequence == MAX_EVENTS + 2


@pytest.mark.parametrize("after", [0, 1, 2, 3, 9])
async def test_watchers_resume_after_a_number_and_see_what_is_still_to_come(after):
    log = EventLog("g")
    log.append(Queued())
    log.append(Checked())

    async def watch():
        return [event.sequence async for event in log.watch(after)]

    watcher = asyncio.create_task(watch())
    await asyncio.sleep(0)
    log.append(Routed())
    await asyncio.sleep(0)
    log.append(Completed())
    assert await asyncio.wait_for(watcher, LATE) == [number for number in (1, 2, 3, 4) if number > after]


async def test_a_slow_watcher_holds_nothing_and_misses_nothing():
    log = EventLog("g")
    watcher = log.watch()
    log.append(Queued())
    assert (await anext(watcher)).sequence == 1
    for _ in range(100):
        log.append(Step(k=1, n=100))
    log.append(Completed())
    assert [event.sequence async for event in watcher] == list(range(2, 103))
