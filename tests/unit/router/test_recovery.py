"""What follows a failed run: the table, and the table at work."""

import asyncio
from contextlib import aclosing
from itertools import pairwise

import pytest

from router.backends.protocol import Loaded, Stored
from router.breaker import Fault
from router.events import Fallback
from router.recovery import LONGEST_WAIT, MOST_AGAIN, RECOVERIES, SHORT_WAIT, Failure, Next
from router.snapshot import State
from scrollintel.visual.v1.errors_pb2 import ErrorReason
from scrollintel.visual.v1.media_pb2 import MediaRef
from services.runtime import deadline
from services.runtime.errors import TABLE, Family, MeshError
from tests.unit.router.running import BETTER, PAID, Diary, collect, error, kinds, order, started
from tests.unit.router.scripted import entry, gone

NOTHING_RAN = {"OVERLOADED", "DEPENDENCY_UNAVAILABLE"}
BROKEN = ("MODEL_UNAVAILABLE", "MODEL_FAILED", "OUT_OF_MEMORY", "OVERLOADED")


def failure(reason, paid=False, began=True, told=False, left=None, **details):
    return Failure(error(reason, **details), paid, began, told, left)


def name(reason):
    return ErrorReason.Name(reason).removeprefix("ERROR_REASON_")


def test_only_what_says_that_nothing_ran_is_asked_again():
    assert {name(reason) for reason, one in RECOVERIES.items() if one.nothing_ran} == NOTHING_RAN


def test_what_the_caller_did_wrong_or_asked_for_is_never_tried_elsewhere():
    for reason, (_, family) in TABLE.items():
        if family in (Family.PROMPT, Family.SAFETY) or name(reason) in ("CANCELLED", "INTERNAL"):
            assert failure(name(reason)).next() is Next.NOBODY


@pytest.mark.parametrize("reason", BROKEN)
@pytest.mark.parametrize("paid", [False, True])
def test_what_broke_may_go_on_anywhere(reason, paid):
    assert failure(reason, paid).next() is Next.ANYBODY


@pytest.mark.parametrize(
    ("reason", "told"),
    [("OUTCOME_UNKNOWN", False), ("DEADLINE_EXCEEDED", False), ("MODEL_UNAVAILABLE", True)],
)
def test_what_may_have_been_charged_goes_on_where_nothing_is_paid(reason, told):
    assert failure(reason, paid=True, told=told, left=60).next() is Next.UNPAID
    assert failure(reason, paid=False, told=told, left=60).next() is Next.ANYBODY


@pytest.mark.parametrize("reason", [*BROKEN, "DEADLINE_EXCEEDED", "OUTCOME_UNKNOWN"])
def test_nobody_goes_on_when_the_callers_time_is_up(reason):
    late = failure(reason, left=0)
    assert late.next() is Next.NOBODY
    assert late.recovery.fault is None, "and it is nobody's fault"


def test_a_backend_is_blamed_for_what_is_its_own_fault():
    blamed = {name(reason): one.fault for reason, one in RECOVERIES.items() if one.fault}
    assert blamed == {
        "MODEL_UNAVAILABLE": Fault.AWAY,
        "MODEL_FAILED": Fault.FAILED,
        "OUTCOME_UNKNOWN": Fault.FAILED,
        "DEADLINE_EXCEEDED": Fault.FAILED,
    }


@pytest.mark.parametrize(
    ("one", "again", "others", "wait"),
    [
        (failure("OVERLOADED", retry_after=4), 0, False, 4),
        (failure("OVERLOADED", retry_after=4), MOST_AGAIN - 1, False, 4),
        (failure("OVERLOADED", retry_after=4), MOST_AGAIN, False, None),
        (failure("OVERLOADED", retry_after=4), 0, True, None),
        (failure("OVERLOADED", retry_after=SHORT_WAIT), 0, True, SHORT_WAIT),
        (failure("OVERLOADED", retry_after=LONGEST_WAIT + 1), 0, False, None),
        (failure("OVERLOADED", retry_after=4, left=3), 0, False, None),
        (failure("OVERLOADED", retry_after=4, left=5), 0, False, 4),
        (failure("OVERLOADED"), 0, False, 1),
        (failure("OVERLOADED", retry_after=4, told=True), 0, False, None),
        (failure("OVERLOADED", retry_after=4, began=False), 0, False, None),
        (failure("MODEL_UNAVAILABLE", retry_after=0.1), 0, False, None),
        (failure("MODEL_FAILED", retry_after=0.1), 0, False, None),
        (failure("OUTCOME_UNKNOWN", paid=True, retry_after=0.1), 0, False, None),
    ],
)
def test_the_same_backend_is_waited_for_where_that_is_safe_and_short(one, again, others, wait):
    assert one.wait(again, others) == wait


async def test_what_was_refused_at_the_door_is_asked_again_and_the_caller_hears_nothing_of_it():
    diary = Diary()
    execution, backends = await started(journal=diary)
    backends["alpha"].refusals = [error("OVERLOADED", retry_after=0.01)] * MOST_AGAIN
    events = await collect(execution, order())
    assert kinds(events) == ["Routed", *["Step"] * 8, "Drawn"]
    assert diary.outcomes() == [("alpha", "OVERLOADED"), ("alpha", "OVERLOADED"), ("alpha", "OK")]
    assert [job.attempt for job in backends["alpha"].jobs] == [run.attempt for run in diary.runs] == [1, 2, 3]


async def test_it_keeps_its_slot_while_it_waits_to_ask_again():
    execution, backends = await started(entry(queue=4))
    backends["alpha"].refusals = [error("OVERLOADED", retry_after=0.3)]
    first = asyncio.create_task(collect(execution, order()))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(collect(execution, order()))
    await asyncio.sleep(0.01)
    assert len(backends["alpha"].jobs) == 1
    assert execution.fleet.snapshot().backends[0].waiting == 1
    assert [kinds(events)[-1] for events in await asyncio.gather(first, second)] == ["Drawn"] * 2


async def test_after_a_few_tries_the_next_backend_goes_on():
    execution, backends = await started(entry("alpha", **BETTER), entry("beta"))
    backends["alpha"].refusals = [error("OVERLOADED", "too much to do", retry_after=0.01)] * 9
    events = await collect(execution, order())
    assert kinds(events) == ["Routed", "Fallback", *["Step"] * 8, "Drawn"]
    assert events[1] == Fallback("triton/alpha", "triton/beta", "too much to do")
    assert len(backends["alpha"].jobs) == MOST_AGAIN + 1


async def test_a_long_wait_is_not_waited_where_another_is_free():
    execution, backends = await started(entry("alpha", **BETTER), entry("beta"))
    backends["alpha"].refusals = [error("OVERLOADED", retry_after=60)]
    async with asyncio.timeout(20):
        events = await collect(execution, order())
    assert kinds(events)[:2] == ["Routed", "Fallback"]


async def test_a_wait_that_outlasts_the_deadline_is_told_instead():
    execution, backends = await started()
    backends["alpha"].refusals = [error("OVERLOADED", retry_after=5)]
    with deadline.until(2), pytest.raises(MeshError, match="OVERLOADED") as caught:
        await collect(execution, order())
    assert caught.value.retry_after == 5


async def test_what_began_is_not_asked_again():
    execution, backends = await started()
    backends["alpha"].failures[2] = error("OVERLOADED", retry_after=0.01)
    with pytest.raises(MeshError, match="OVERLOADED"):
        await collect(execution, order())
    assert len(backends["alpha"].jobs) == 1


@pytest.mark.parametrize("reason", ["PROMPT_UNSAFE", "FIELD_INVALID", "CANCELLED"])
async def test_a_refusal_of_the_prompt_is_not_tried_elsewhere(reason):
    execution, backends = await started(entry("alpha", **BETTER), entry("beta"))
    backends["alpha"].refusals = [error(reason)]
    with pytest.raises(MeshError, match=reason):
        await collect(execution, order())
    assert not backends["beta"].jobs


def paid(model, quality):
    prior = {"quality": quality, "seconds_per_step": 0.01}
    return entry(model, name=f"openai/{model}", prior=prior, **PAID)


async def test_a_paid_call_whose_answer_was_lost_goes_on_where_nothing_is_paid():
    diary = Diary()
    execution, backends = await started(
        paid("dear", 1.0), paid("other", 0.9), entry("own", prior={"quality": 0.1, "seconds_per_step": 1}),
        journal=diary,
    )  # fmt: skip
    backends["dear"].failures[0] = error("OUTCOME_UNKNOWN")
    events = await collect(execution, order(objective="quality"))
    assert [(one.failed, one.next) for one in events if isinstance(one, Fallback)] == [
        ("openai/dear", "triton/own")
    ]
    assert not backends["other"].jobs
    assert [run.usd for run in diary.runs] == [0.04, 0.0], "it may have been charged"


async def test_who_may_have_paid_once_pays_nobody_else_however_the_rest_goes():
    execution, backends = await started(
        paid("dear", 1.0), paid("other", 0.9), entry("own", prior={"quality": 0.1, "seconds_per_step": 1})
    )
    backends["dear"].failures[0] = error("OUTCOME_UNKNOWN")
    backends["own"].failures[2] = error("MODEL_FAILED")
    with pytest.raises(MeshError, match="MODEL_FAILED"):
        await collect(execution, order(objective="quality"))
    assert not backends["other"].jobs


async def test_a_paid_call_whose_answer_was_lost_and_nobody_else_is_told_so():
    execution, backends = await started(paid("dear", 1.0), paid("other", 0.9))
    backends["dear"].failures[0] = error("OUTCOME_UNKNOWN")
    with pytest.raises(MeshError, match="OUTCOME_UNKNOWN"):
        await collect(execution, order(objective="quality"))
    assert not backends["other"].jobs


async def test_a_paid_call_that_surely_made_nothing_may_be_paid_elsewhere():
    diary = Diary()
    execution, backends = await started(paid("dear", 1.0), paid("other", 0.9), journal=diary)
    backends["dear"].failures[0] = gone("dear")
    await collect(execution, order(objective="quality"))
    assert [(run.backend, run.usd) for run in diary.runs] == [("openai/dear", 0.0), ("openai/other", 0.04)]


async def test_what_is_stored_already_counts_as_drawn(monkeypatch):
    execution, backends = await started(entry("alpha", **BETTER), entry("beta"))

    async def buy(job, timeout):
        yield Stored(0, -1, MediaRef())
        raise gone("alpha")

    monkeypatch.setattr(backends["alpha"], "execute", buy)
    events = []
    with pytest.raises(MeshError, match="MODEL_UNAVAILABLE"):
        await collect(execution, order(images=2), events)
    assert kinds(events) == ["Routed", "Stored"]
    assert not backends["beta"].jobs


async def test_the_limit_of_one_backend_is_not_the_callers_deadline():
    execution, backends = await started(entry("alpha", **BETTER), entry("beta"), seconds=0.05)
    backends["alpha"].gates[1] = asyncio.Event()
    with deadline.until(30):
        events = await collect(execution, order())
    assert kinds(events) == ["Routed", "Fallback", *["Step"] * 8, "Drawn"]


async def test_what_fails_again_and_again_rests_and_the_others_serve_meanwhile():
    execution, backends = await started(entry("alpha", **BETTER), entry("beta"))
    backends["alpha"].failures[1] = error("MODEL_FAILED")
    told = [kinds(await collect(execution, order())) for _ in range(5)]
    assert ["Fallback" in each for each in told] == [True, True, True, False, False]
    assert len(backends["alpha"].jobs) == 3


async def test_every_run_is_written_down(monkeypatch):
    diary = Diary()
    execution, backends = await started(entry("alpha", **BETTER), entry("beta"), journal=diary)
    execute = backends["beta"].execute

    async def cold(job, timeout):
        yield Loaded(0.0)
        async with aclosing(execute(job, timeout)) as events:
            async for event in events:
                yield event

    monkeypatch.setattr(backends["beta"], "execute", cold)
    backends["alpha"].failures[3] = gone("alpha")
    await collect(execution, order(images=2))
    first, second = diary.runs
    assert (first.backend, first.outcome, first.attempt) == ("triton/alpha", "MODEL_UNAVAILABLE", 1)
    assert (second.backend, second.outcome, second.attempt) == ("triton/beta", "OK", 2)
    assert (second.request_id, second.model, second.prompt_class) == ("request-1", "beta", "other")
    assert (second.work.steps, second.work.images, second.work.frames) == (8, 2, 1)
    assert (second.usd, second.beside, second.arm, second.shadow) == (0, 0, "", False)
    assert 0 <= second.seconds < 5
    assert 0 <= second.waited < 5
    assert first.at <= second.at
    assert all(one <= other for one, other in pairwise([run.attempt for run in diary.runs]))


async def test_who_stops_listening_is_written_down_as_that_and_blames_nobody():
    diary = Diary()
    execution, backends = await started(journal=diary)
    backends["alpha"].gates[3] = asyncio.Event()
    task = asyncio.create_task(collect(execution, order()))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert diary.outcomes() == [("alpha", "CANCELLED")]
    assert execution.fleet.snapshot().backends[0].state is State.READY


async def test_seconds_are_the_backends_own_and_the_queue_is_told_apart():
    diary = Diary()
    execution, backends = await started(entry(queue=4), journal=diary)
    backends["alpha"].gates[1] = asyncio.Event()
    tasks = [asyncio.create_task(collect(execution, order())) for _ in range(2)]
    await asyncio.sleep(0.2)
    backends["alpha"].gates[1].set()
    await asyncio.gather(*tasks)
    first, second = diary.runs
    assert first.seconds > 0.15 > first.waited
    assert second.waited > 0.15 > second.seconds
