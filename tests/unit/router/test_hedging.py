"""Hedges: started for what is late, free and within the budget; the first output wins, and the other is stopped."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.backends.protocol import Step
from router.decision import decide
from router.demand import Demand
from router.events import Drawn, Fallback
from router.hedging import HedgeBudget, Hedging, is_hedged, late_after, partner
from router.snapshot import Snapshot, State
from services.runtime import deadline
from services.runtime.errors import MeshError
from tests.unit.router.running import PAID, POLICY, Diary, collect, error, kinds, order, started
from tests.unit.router.scripted import entry, forecast, gone, view

EAGER = Hedging(deviations=0, least=0.02, share=1, burst=10)
FAST = {"prior": {"quality": 0.9, "seconds_per_step": 0.0001}}
SLOWER = {"prior": {"quality": 0.5, "seconds_per_step": 0.0001}}


def views(*backends):
    return decide(Demand(), Snapshot(backends), POLICY)


# What decides.


def test_late_is_some_deviations_after_the_expected_time_and_never_at_once():
    known = view(forecast=forecast(0.1), call_seconds=0)
    assert late_after(Demand(), known, Hedging(deviations=3, least=0.5)) == pytest.approx(0.8)
    assert late_after(Demand(), known, Hedging(deviations=3, least=2)) == 2
    unsure = view(forecast=forecast(0.1, noise=0.5))
    assert late_after(Demand(), unsure, Hedging(deviations=3, least=0.5)) == pytest.approx(
        0.8 + 3 * unsure.deviation(Demand())
    )


def test_what_waits_in_a_queue_is_not_late_because_of_it():
    busy = view(in_flight=2, waiting=1, call_seconds=10)
    assert late_after(Demand(), busy, Hedging()) >= busy.wait()


def test_nothing_is_hedged_that_is_paid_or_with_what_is_paid():
    own, twin, dear = view("triton/own"), view("triton/twin"), view("openai/dear", paid=True)
    assert is_hedged(views(own, twin), own)
    assert not is_hedged(views(own), own)
    assert not is_hedged(views(own, dear), own)
    assert not is_hedged(views(own, dear), dear)


def test_the_partner_is_the_best_that_is_free_and_not_paid():
    best = view("triton/best", quality=0.99, in_flight=2)
    dear = view("openai/dear", quality=0.98, paid=True)
    cold = view("triton/cold", quality=0.97, state=State.LOADABLE)
    good, other = view("triton/good", quality=0.9), view("triton/other", quality=0.1)
    assert partner(views(best, dear, cold, other, good)).backend.name == "triton/good"
    assert partner(views(best, dear)) is None
    back = view("triton/back", in_flight=1, allowance=1)
    assert partner(views(back)) is None, "trusted with one, and it has one"


@given(share=st.floats(0, 1), burst=st.integers(0, 8), plan=st.lists(st.booleans(), min_size=1, max_size=200))
def test_hedges_stay_within_their_budget(share, burst, plan):
    budget, hedges = HedgeBudget(Hedging(share=share, burst=burst)), 0
    for requests, wants in enumerate(plan, start=1):
        budget.earn()
        if wants and budget.spend():
            hedges += 1
        assert hedges <= burst + share * requests + 1e-9


# What runs.


def when(holds, act):
    """Do something as soon as a condition holds."""

    async def wait():
        while not holds():
            await asyncio.sleep(0.002)
        act()

    return asyncio.create_task(wait())


async def late(**parts):
    """Alpha is chosen and stands still at its fifth step; beta would draw at once."""
    diary = Diary()
    execution, backends = await started(
        entry("alpha", concurrency=4, **FAST),  # with room for its own hedge, which it shall not get
        entry("beta", **SLOWER),
        journal=diary,
        **({"hedging": EAGER} | parts),
    )
    backends["alpha"].gates[5] = asyncio.Event()
    return execution, backends, diary


async def test_the_first_output_wins_and_the_late_run_is_stopped():
    execution, backends, diary = await late()
    async with asyncio.timeout(20):
        events = await collect(execution, order(images=2))
    assert kinds(events) == ["Routed", *["Step"] * 4, "Fallback", "Drawn", "Drawn"]
    fallback = events[5]
    assert (fallback.failed, fallback.next) == ("triton/alpha", "triton/beta")
    assert fallback.reason.startswith("took longer than predicted")
    assert [event.model for event in events if isinstance(event, Drawn)] == ["beta", "beta"]
    assert sorted(diary.outcomes()) == [("alpha", "CANCELLED"), ("beta", "OK")]
    assert sorted(run.attempt for run in diary.runs) == [1, 2]
    assert backends["alpha"].running == 0
    assert {one.in_flight for one in execution.fleet.snapshot().backends} == {0}
    assert {one.state for one in execution.fleet.snapshot().backends} == {State.READY}


async def until_drawn(running):
    """Read until a picture is told, and let those who were stopped end."""
    async for event in running:
        if isinstance(event, Drawn):
            break
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_loser_is_stopped_when_the_first_picture_is_told_not_when_the_last_one_is():
    execution, backends, diary = await late()
    async with aclosing(execution.run(order(images=5))) as running:
        await until_drawn(running)
        assert (backends["alpha"].running, diary.outcomes()) == (0, [("alpha", "CANCELLED")])
    execution, backends, diary = await late()
    backends["beta"].gates[3] = asyncio.Event()
    meanwhile = when(lambda: backends["beta"].running, backends["alpha"].gates[5].set)
    async with aclosing(execution.run(order(images=5))) as running:
        await until_drawn(running)
        assert (backends["beta"].running, diary.outcomes()) == (0, [("beta", "CANCELLED")])
    await meanwhile


async def test_the_same_seed_is_drawn_so_that_either_result_is_the_requests_own():
    execution, backends, _ = await late()
    await collect(execution, order(seed=11))
    assert [job.seeds for one in backends.values() for job in one.jobs] == [(11,), (11,)]


async def test_the_hedge_is_stopped_when_the_first_run_has_the_first_output():
    execution, backends, diary = await late()
    backends["beta"].gates[3] = asyncio.Event()
    meanwhile = when(lambda: backends["beta"].running, backends["alpha"].gates[5].set)
    events = await collect(execution, order())
    assert kinds(events) == ["Routed", *["Step"] * 8, "Drawn"]
    assert events[-1].model == "alpha"
    assert sorted(diary.outcomes()) == [("alpha", "OK"), ("beta", "CANCELLED")]
    assert backends["beta"].running == 0
    await meanwhile


async def test_a_hedge_that_fails_is_never_heard_of():
    execution, backends, diary = await late()
    backends["beta"].failures[2] = gone("beta")
    failed = when(lambda: len(diary.runs), backends["alpha"].gates[5].set)
    events = await collect(execution, order())
    assert kinds(events) == ["Routed", *["Step"] * 8, "Drawn"]
    await failed
    assert sorted(diary.outcomes()) == [("alpha", "OK"), ("beta", "MODEL_UNAVAILABLE")]


async def test_the_hedge_goes_on_when_the_first_run_fails():
    execution, backends, _ = await late()
    backends["beta"].gates[3] = asyncio.Event()
    backends["alpha"].failures[5] = gone("alpha")
    first = when(lambda: backends["beta"].steps == 2, backends["alpha"].gates[5].set)
    second = when(lambda: first.done() and not backends["alpha"].running, backends["beta"].gates[3].set)
    events = await collect(execution, order())
    await second
    told = [event for event in events if isinstance(event, Fallback)]
    assert told == [Fallback("triton/alpha", "triton/beta", "alpha cannot be reached; it is being restarted")]
    assert events[events.index(told[0]) + 1] == Step(3, 8), "from where the hedge is"
    assert events[-1].model == "beta"
    assert len(backends["beta"].jobs) == 1


async def test_both_fail_and_the_third_goes_on():
    diary = Diary()
    execution, backends = await started(
        entry("alpha", **FAST), entry("beta", **SLOWER),
        entry("gamma", prior={"quality": 0.1, "seconds_per_step": 0.0001}),
        journal=diary, hedging=EAGER,
    )  # fmt: skip
    for name in ("alpha", "beta"):
        backends[name].gates[5], backends[name].failures[5] = asyncio.Event(), error("MODEL_FAILED", name)
    first = when(lambda: backends["beta"].steps == 4, backends["alpha"].gates[5].set)
    second = when(lambda: first.done() and not backends["alpha"].running, backends["beta"].gates[5].set)
    events = await collect(execution, order())
    await second
    assert [(event.failed, event.next) for event in events if isinstance(event, Fallback)] == [
        ("triton/alpha", "triton/beta"),
        ("triton/beta", "triton/gamma"),
    ]
    assert [run.attempt for run in diary.runs] == [1, 2, 3]


async def test_both_fail_and_the_last_failure_is_told():
    execution, backends, _ = await late()
    backends["alpha"].failures[5] = error("MODEL_FAILED", "first")
    backends["beta"].failures[3], backends["beta"].gates[3] = error("MODEL_FAILED", "second"), asyncio.Event()
    first = when(lambda: backends["beta"].steps == 2, backends["alpha"].gates[5].set)
    second = when(lambda: first.done() and not backends["alpha"].running, backends["beta"].gates[3].set)
    with pytest.raises(MeshError, match="second"):
        await collect(execution, order())
    await second


async def test_nothing_is_hedged_beyond_the_budget():
    execution, backends, diary = await late(hedging=Hedging(deviations=0, least=0.02, share=0, burst=1))
    await collect(execution, order())
    asyncio.get_running_loop().call_later(0.1, backends["alpha"].gates[5].set)
    await collect(execution, order())
    assert diary.outcomes()[-1] == ("alpha", "OK")
    assert len(backends["beta"].jobs) == 1


async def test_a_backend_that_stands_still_and_answers_its_probes_is_trusted_no_more():
    execution, backends, _ = await late()
    for _ in range(3):
        await collect(execution, order())
    assert execution.fleet.snapshot().backends[0].state is State.UNAVAILABLE
    await collect(execution, order())
    assert (len(backends["alpha"].jobs), len(backends["beta"].jobs)) == (3, 4)


async def test_a_backend_that_stands_still_until_its_callers_time_is_up_is_trusted_no_more():
    execution, _, diary = await late(hedging=replace(EAGER, share=0, burst=0))
    for _ in range(3):
        with deadline.until(0.3), pytest.raises(MeshError, match="DEADLINE_EXCEEDED"):
            await collect(execution, order())
    assert diary.outcomes() == [("alpha", "DEADLINE_EXCEEDED")] * 3
    assert execution.fleet.snapshot().backends[0].state is State.UNAVAILABLE


async def test_a_reader_who_takes_long_is_no_backends_fault():
    execution, backends, diary = await late(hedging=replace(EAGER, share=0, burst=0))
    backends["alpha"].gates.clear()
    for _ in range(3):
        async with aclosing(execution.run(order())) as running:
            async for event in running:
                if isinstance(event, Step):
                    await asyncio.sleep(0.05)
                    break
    assert diary.outcomes() == [("alpha", "CANCELLED")] * 3
    assert {one.state for one in execution.fleet.snapshot().backends} == {State.READY}


async def test_nothing_is_hedged_because_its_reader_takes_long():
    execution, backends, _ = await late(hedging=replace(EAGER, least=0.3))
    backends["alpha"].gates = {k: asyncio.Event() for k in range(3, 9)}
    async with aclosing(execution.run(order())) as running:
        async for event in running:
            if isinstance(event, Step):
                if event.k == 1:
                    await asyncio.sleep(0.35)
                for k, gate in backends["alpha"].gates.items():
                    if k <= event.k + 1:  # the next step comes a little later
                        asyncio.get_running_loop().call_later(0.002, gate.set)
    assert not backends["beta"].jobs


async def test_who_is_the_only_one_that_can_serve_may_be_late():
    execution, backends = await started(entry("alpha", **FAST), hedging=EAGER)
    backends["alpha"].gates[5] = asyncio.Event()
    for _ in range(3):
        with deadline.until(0.1), pytest.raises(MeshError, match="DEADLINE_EXCEEDED"):
            await collect(execution, order())
    assert execution.fleet.snapshot().backends[0].state is State.READY


async def test_what_is_paid_is_never_run_twice():
    execution, backends = await started(
        entry("dear", name="openai/dear", prior={"quality": 1, "seconds_per_step": 0.0001}, **PAID),
        entry("own", prior={"quality": 0, "seconds_per_step": 0.0001}),
        hedging=EAGER,
    )
    backends["dear"].gates[5] = asyncio.Event()
    asyncio.get_running_loop().call_later(0.1, backends["dear"].gates[5].set)
    events = await collect(execution, order(objective="quality"))
    assert events[-1].model == "dear"
    assert not backends["own"].jobs


async def test_stopping_stops_both_runs():
    execution, backends, diary = await late()
    backends["beta"].gates[3] = asyncio.Event()
    task = asyncio.create_task(collect(execution, order()))
    async with asyncio.timeout(20):
        while not backends["beta"].running:
            await asyncio.sleep(0.005)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (backends["alpha"].running, backends["beta"].running) == (0, 0)
    assert sorted(diary.outcomes()) == [("alpha", "CANCELLED"), ("beta", "CANCELLED")]


async def test_no_run_gets_ahead_of_a_slow_reader():
    execution, backends = await started(entry("alpha", **FAST), entry("beta", **SLOWER), hedging=EAGER)
    running = execution.run(order(steps=100))
    await anext(running)
    await anext(running)
    for _ in range(200):
        await asyncio.sleep(0)
    assert backends["alpha"].steps <= 4
    await running.aclose()
    assert backends["alpha"].running == 0


async def test_an_adapters_mistake_is_no_silence(monkeypatch):
    execution, backends, diary = await late()

    async def broken(job, timeout):
        yield Step(1, 8)
        raise RuntimeError("an adapter's mistake")

    monkeypatch.setattr(backends["alpha"], "execute", broken)
    with pytest.raises(RuntimeError, match="mistake"):
        await collect(execution, order())
    assert diary.outcomes() == [("alpha", "INTERNAL")]


async def test_a_run_that_is_cancelled_by_nobody_is_no_silence(monkeypatch):
    """As a call of gRPC's is when its connection is closed under it."""

    async def cut_off(job, timeout):
        yield Step(1, 8)
        raise asyncio.CancelledError

    execution, backends, _ = await late()
    monkeypatch.setattr(backends["alpha"], "execute", cut_off)
    async with asyncio.timeout(20):
        with pytest.raises(MeshError, match="MODEL_UNAVAILABLE"):
            await collect(execution, order())
