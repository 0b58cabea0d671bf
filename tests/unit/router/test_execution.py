"""A run: chosen and told first, drawn once, moved on only when nothing was drawn, stopped when nobody listens."""

import asyncio
from contextlib import aclosing

import pytest

from router.backends.protocol import Preview, Step
from router.demand import Demand, Tier
from router.execution import Drawn, Execution, Fallback, Order, Routed
from router.fleet import Fleet
from router.policy import load_policy
from router.probing import probe
from router.settings import WEIGHTS_FILE
from router.snapshot import State
from scrollintel.visual.v1 import errors_pb2
from services.runtime import deadline
from services.runtime.errors import MeshError
from tests.unit.router.scripted import ScriptedBackend, entry, gone

POLICY = load_policy(WEIGHTS_FILE)
BETTER = {"prior": {"quality": 0.9, "seconds_per_step": 0.01}}


async def started(*entries):
    backends: dict[str, ScriptedBackend] = {}
    fleet = Fleet.of(
        entries or [entry()],
        lambda one: backends.setdefault(one.name.rpartition("/")[2], ScriptedBackend(one)),
    )
    for name in fleet.members:
        await probe(fleet, name, 1)
    return Execution(fleet, POLICY, seconds=30), backends


def order(previews=0, seed=7, **demand):
    return Order(Demand(**demand), "request-1", "a red apple", "blurry", seed, previews)


async def collect(execution, one, into=None):
    events = [] if into is None else into
    async with aclosing(execution.run(one)) as running:
        async for event in running:
            events.append(event)
    return events


def kinds(events):
    return [type(event).__name__ for event in events]


async def test_a_model_that_negative_prompts_mislead_is_given_none_and_the_caller_is_told():
    execution, backends = await started(entry(negative_prompts=False))
    events = await collect(execution, order())
    assert backends["alpha"].jobs[0].negative_prompt == ""
    assert events[0].reasons[-1].endswith(", without negative prompts")


async def test_a_run_is_routed_stepped_and_drawn():
    execution, backends = await started()
    events = await collect(execution, order(images=2))
    assert kinds(events) == ["Routed", *["Step"] * 8, "Drawn", "Drawn"]
    assert events[1:9] == [Step(k, 8) for k in range(1, 9)]
    assert [(event.output.index, event.output.seed) for event in events[9:]] == [(0, 7), (1, 8)]
    job = backends["alpha"].jobs[0]
    assert (job.steps, job.guidance_scale, job.prompt, job.negative_prompt) == (
        8,
        2.5,
        "a red apple",
        "blurry",
    )


@pytest.mark.parametrize(
    ("demand", "steps", "guidance"),
    [
        ({"tier": Tier.DRAFT}, 4, 2.5),
        ({"tier": Tier.HIGH}, 16, 2.5),
        ({"tier": Tier.HIGH, "steps": 3, "guidance_scale": 0.0}, 3, 0.0),
        ({"steps": 100, "guidance_scale": 30.0}, 100, 30.0),
    ],
)
async def test_what_the_request_names_wins_over_the_defaults(demand, steps, guidance):
    execution, backends = await started()
    await collect(execution, order(**demand))
    job = backends["alpha"].jobs[0]
    assert (job.steps, job.guidance_scale) == (steps, guidance)


@pytest.mark.parametrize(("steps", "previews"), [(1, 0), (2, 1), (7, 6), (8, 3), (24, 5), (100, 6)])
async def test_previews_are_few_and_only_when_asked_for(steps, previews):
    execution, _ = await started()
    events = await collect(execution, order(previews=6, steps=steps))
    assert sum(isinstance(event, Preview) for event in events) == previews
    assert "Preview" not in kinds(await collect(execution, order(steps=steps)))


@pytest.mark.parametrize("at", [0, 5, 8])
@pytest.mark.parametrize("reason", ["MODEL_UNAVAILABLE", "MODEL_FAILED", "OUT_OF_MEMORY"])
async def test_a_failure_before_a_picture_moves_on(at, reason):
    execution, backends = await started(entry("alpha", **BETTER), entry("beta"))
    error = MeshError(errors_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}"), "it broke")
    backends["alpha"].failures[at] = error
    events = await collect(execution, order())
    assert kinds(events) == ["Routed", *["Step"] * max(0, at - 1), "Fallback", *["Step"] * 8, "Drawn"]
    assert events[0].chosen.backend.name == "triton/alpha"
    assert Fallback("triton/alpha", "triton/beta", "it broke") in events
    assert events[-1].model == "beta"
    assert backends["alpha"].running == 0


async def test_the_last_failure_is_told_with_what_helps():
    execution, backends = await started(entry("alpha", **BETTER), entry("beta"))
    for backend in backends.values():
        backend.failures[3] = gone(backend.entry.model)
    events = []
    with pytest.raises(MeshError) as caught:
        await collect(execution, order(), events)
    assert kinds(events) == ["Routed", "Step", "Step", "Fallback", "Step", "Step"]
    assert (caught.value.name, caught.value.retry_after) == ("MODEL_UNAVAILABLE", 6)
    assert {view.state for view in execution.fleet.snapshot().backends} == {State.UNAVAILABLE}


async def test_a_named_model_is_not_swapped_for_another_but_told_of():
    execution, backends = await started(entry("alpha"), entry("beta"))
    backends["alpha"].failures[2] = gone()
    with pytest.raises(MeshError) as caught:
        await collect(execution, order(model="alpha"))
    assert caught.value.alternative_models == ["beta"]
    assert not backends["beta"].jobs


async def test_a_named_model_moves_to_another_backend_of_that_model():
    execution, backends = await started(
        entry("alpha", **BETTER), entry("alpha", name="triton/twin"), entry("beta", **BETTER)
    )
    backends["alpha"].failures[2] = gone()
    events = await collect(execution, order(model="alpha"))
    assert [event.next for event in events if isinstance(event, Fallback)] == ["triton/twin"]


async def test_what_went_away_gets_no_work_until_a_probe_finds_it_back():
    execution, backends = await started()
    backends["alpha"].failures[4] = gone()
    with pytest.raises(MeshError, match="MODEL_UNAVAILABLE"):
        await collect(execution, order())
    with pytest.raises(MeshError, match=r"NO_BACKEND.*does not answer") as caught:
        await collect(execution, order())
    assert caught.value.retry_after > 0
    assert len(backends["alpha"].jobs) == 1
    backends["alpha"].failures.clear()
    await probe(execution.fleet, "triton/alpha", 1)
    assert kinds(await collect(execution, order()))[-1] == "Drawn"


async def test_a_model_that_failed_once_stays_in_service():
    execution, backends = await started()
    backends["alpha"].failures[1] = MeshError(errors_pb2.ERROR_REASON_MODEL_FAILED, "it broke", retry_after=1)
    with pytest.raises(MeshError, match="MODEL_FAILED"):
        await collect(execution, order())
    assert execution.fleet.snapshot().backends[0].state is State.READY


async def test_nothing_is_drawn_twice_once_a_picture_is_out(monkeypatch):
    execution, backends = await started(entry("alpha", **BETTER), entry("beta"))
    execute = backends["alpha"].execute

    async def half(job, timeout):
        async with aclosing(execute(job, timeout)) as events:
            async for event in events:
                yield event
                if not isinstance(event, Step):
                    raise gone()

    monkeypatch.setattr(backends["alpha"], "execute", half)
    events = []
    with pytest.raises(MeshError, match="MODEL_UNAVAILABLE"):
        await collect(execution, order(images=2), events)
    assert kinds(events).count("Drawn") == 1
    assert not backends["beta"].jobs


async def test_a_deadline_that_passed_is_nobodys_failure():
    execution, backends = await started(entry("alpha", **BETTER), entry("beta"))
    with deadline.until(-1), pytest.raises(MeshError, match="DEADLINE_EXCEEDED"):
        await collect(execution, order())
    assert not backends["alpha"].jobs
    assert not backends["beta"].jobs
    assert execution.fleet.snapshot().backends[0].state is State.READY


async def test_waiting_for_a_turn_ends_with_the_deadline():
    execution, backends = await started()
    backends["alpha"].gates[3] = asyncio.Event()
    first = asyncio.create_task(collect(execution, order()))
    await asyncio.sleep(0.01)
    with deadline.until(0.1), pytest.raises(MeshError, match="DEADLINE_EXCEEDED"):
        await collect(execution, order())
    backends["alpha"].gates[3].set()
    assert kinds(await first)[-1] == "Drawn"


async def test_a_deadline_that_the_expected_time_cannot_meet_is_tried_all_the_same():
    execution, _ = await started(entry(prior={"quality": 0.5, "seconds_per_step": 60}))
    with deadline.until(5):
        assert kinds(await collect(execution, order()))[-1] == "Drawn"


@pytest.mark.parametrize("by", ["closing", "cancelling"])
async def test_stopping_stops_the_backend_and_gives_its_slot_back(by):
    execution, backends = await started()
    seen, backend = asyncio.Event(), backends["alpha"]
    backend.gates[5] = asyncio.Event()

    async def listen():
        async with aclosing(execution.run(order(steps=100))) as events:
            async for event in events:
                if event == Step(4, 100):
                    seen.set()
                    if by == "closing":
                        return

    listener = asyncio.create_task(listen())
    await asyncio.wait_for(seen.wait(), 5)
    if by == "cancelling":
        listener.cancel()
    await asyncio.gather(listener, return_exceptions=True)
    assert (backend.running, backend.steps) == (0, 4)
    assert execution.fleet.snapshot().backends[0].in_flight == 0
    backend.gates.clear()
    assert kinds(await collect(execution, order()))[-1] == "Drawn"


async def test_full_waits_then_refuses_at_once():
    execution, backends = await started(entry(concurrency=2, queue=1))
    backends["alpha"].gates[1] = asyncio.Event()
    runs = [asyncio.create_task(collect(execution, order())) for _ in range(3)]
    await asyncio.sleep(0.01)
    with pytest.raises(MeshError) as caught:
        await collect(execution, order())
    assert (caught.value.name, caught.value.queue_position) == ("OVERLOADED", 2)
    assert caught.value.estimated_wait == caught.value.retry_after > 0
    backends["alpha"].gates[1].set()
    assert [kinds(events)[-1] for events in await asyncio.gather(*runs)] == ["Drawn"] * 3
    assert backends["alpha"].most_running == 2


async def test_full_moves_to_the_one_with_room():
    execution, backends = await started(entry("alpha", queue=0, **BETTER), entry("beta"))
    backends["alpha"].gates[1] = asyncio.Event()
    first = asyncio.create_task(collect(execution, order()))
    await asyncio.sleep(0.01)
    events = await collect(execution, order())
    assert isinstance(events[0], Routed)
    assert events[0].chosen.backend.name == "triton/beta"
    assert [refusal.reason for refusal in events[0].decision.refusals] == ["is full: 1 running and 0 waiting"]
    backends["alpha"].gates[1].set()
    await first


async def test_the_pace_is_learned_from_runs():
    execution, backends = await started(entry(prior={"quality": 0.5, "seconds_per_step": 10.0}))
    before = execution.fleet.snapshot().backends[0].seconds(Demand())
    for _ in range(3):
        events = await collect(execution, order())
        assert isinstance(events[-1], Drawn)
    assert execution.fleet.snapshot().backends[0].seconds(Demand()) < before * 0.6
    assert len(backends["alpha"].jobs) == 3
