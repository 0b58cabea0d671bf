"""A run: chosen and told first, drawn once, moved on only when nothing was drawn, stopped when nobody listens."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from router.backends.protocol import Preview, Source, Step
from router.demand import Demand, Tier
from router.events import Drawn, Fallback, Routed
from router.order import Assignment
from router.probing import probe
from router.runs import Run
from router.snapshot import State
from scrollintel.visual.v1 import errors_pb2
from scrollintel.visual.v1.prompt_pb2 import PromptWording
from services.runtime import deadline
from services.runtime.errors import MeshError
from tests.unit.router.running import BETTER, Diary, collect, kinds, order, started
from tests.unit.router.scripted import entry, gone


async def test_a_model_that_negative_prompts_mislead_is_given_none_and_the_caller_is_told():
    execution, backends = await started(entry(negative_prompts=False))
    events = await collect(execution, order())
    assert backends["alpha"].jobs[0].negative_prompt == ""
    assert events[0].reasons[-1].endswith(", without negative prompts")


async def test_a_model_is_given_the_prompt_that_is_worded_for_it():
    one = entry()
    for models, prompt in (([one.model], "an apple"), (["another"], "a red apple")):
        execution, backends = await started(one)
        wordings = (PromptWording(models=models, prompt="an apple"),)
        await collect(execution, replace(order(), wordings=wordings))
        assert backends["alpha"].jobs[0].prompt == prompt


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


async def test_a_deadline_that_only_a_guess_says_is_missed_is_tried():
    execution, _ = await started(entry(prior={"quality": 0.5, "seconds_per_step": 60}))
    with deadline.until(5):
        assert kinds(await collect(execution, order()))[-1] == "Drawn"


def teach(execution, name, seconds, runs=40):
    """Let the fleet have seen a backend take so long for the work of `order()`."""
    work = next(one for one in execution.fleet.snapshot().backends if one.name == name).work(Demand())
    for attempt in range(runs):
        run = Run("request-0", "", attempt, "", name, "", "other", work, "OK", seconds, 0, 0, 0, 0, 0)
        execution.fleet.learning.observe(run)
    execution.fleet.drain(name, False)  # shows what was learned


async def test_a_backend_that_is_known_to_miss_the_deadline_is_not_chosen():
    slow = {"prior": {"quality": 0.9, "seconds_per_step": 2.5}}
    execution, backends = await started(entry("alpha", **slow), entry("beta"))
    teach(execution, "triton/alpha", 20.0)
    assert execution.decide(order(objective="quality").demand).candidates[0].backend.name == "triton/alpha"
    with deadline.until(5):
        events = await collect(execution, order(objective="quality"))
    assert events[0].chosen.backend.name == "triton/beta"
    (refusal,) = events[0].decision.refusals
    assert "s are left" in refusal.reason
    assert not backends["alpha"].jobs


async def test_who_comes_too_late_is_told_that_and_not_that_nobody_is_fast_enough():
    execution, _ = await started(entry(prior={"quality": 0.9, "seconds_per_step": 2.5}))
    teach(execution, "triton/alpha", 20.0)
    with deadline.until(5), pytest.raises(MeshError, match="nobody is expected to be done"):
        await collect(execution, order())
    with deadline.until(-1), pytest.raises(MeshError, match="DEADLINE_EXCEEDED: the deadline passed"):
        await collect(execution, order())


async def test_what_is_left_after_a_failure_decides_who_goes_on():
    execution, backends = await started(
        entry("alpha", **BETTER),
        entry("beta", prior={"quality": 0.8, "seconds_per_step": 0.125}),
        entry("gamma"),
    )
    teach(execution, "triton/beta", 1.0)
    backends["alpha"].gates[2], backends["alpha"].failures[2] = asyncio.Event(), gone()
    asyncio.get_running_loop().call_later(0.3, backends["alpha"].gates[2].set)
    with deadline.until(1.2):
        events = await collect(execution, order(objective="quality"))
    assert [view.name for view, *_ in events[0].decision.candidates][:2] == ["triton/alpha", "triton/beta"]
    assert [event.next for event in events if isinstance(event, Fallback)] == ["triton/gamma"]


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
    await asyncio.wait_for(seen.wait(), 20)
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


class Arm:
    """A splitter that puts everything into one arm and remembers what it was shown."""

    def __init__(self, model, *others):
        self.assignment = Assignment("experiment-1", "treatment", model, "unit-1", frozenset(others))
        self.shown = []

    def split(self, order):
        return self.assignment

    def mirrored(self, order, execution):
        self.shown.append((order, execution))


async def test_an_experiment_chooses_the_model_and_the_run_says_so():
    diary, arm = Diary(), Arm("beta")
    execution, _ = await started(entry("alpha", **BETTER), entry("beta"), journal=diary, splitter=arm)
    events = await collect(execution, order())
    assert events[0].chosen.backend.model == "beta"
    assert [(run.experiment, run.arm, run.unit) for run in diary.runs] == [
        ("experiment-1", "treatment", "unit-1")
    ]
    ((shown, whose),) = arm.shown
    assert (shown.assignment, whose) == (arm.assignment, execution)


async def test_who_names_a_model_is_in_no_experiment():
    diary = Diary()
    execution, _ = await started(entry("alpha"), entry("beta"), journal=diary, splitter=Arm("beta"))
    assert (await collect(execution, order(model="alpha")))[0].chosen.backend.model == "alpha"
    assert diary.runs[0].experiment == ""


@pytest.mark.parametrize("model", ["beta", "omega"])
async def test_an_arm_that_cannot_serve_costs_nobody_an_answer(model):
    diary = Diary()
    execution, backends = await started(
        entry("alpha"), entry("beta", **BETTER), journal=diary, splitter=Arm(model)
    )
    backends["beta"].health = State.UNAVAILABLE
    await probe(execution.fleet, "triton/beta", 1)
    assert kinds(await collect(execution, order()))[-1] == "Drawn"
    assert (diary.runs[0].model, diary.runs[0].arm) == ("alpha", "")


async def test_arms_are_measured_on_the_same_requests():
    diary = Diary()
    one_at_a_time = entry("beta", limits={"steps": 100, "images": 1})
    execution, _ = await started(entry("alpha"), one_at_a_time, journal=diary, splitter=Arm("alpha", "beta"))
    await collect(execution, order())
    await collect(execution, order(images=4))
    assert [(run.work.images, run.arm) for run in diary.runs] == [(1, "treatment"), (4, "")]


async def test_an_arm_that_fails_falls_back_to_another_model_outside_the_experiment():
    diary = Diary()
    execution, backends = await started(entry("alpha"), entry("beta"), journal=diary, splitter=Arm("beta"))
    backends["beta"].failures[2] = gone("beta")
    events = await collect(execution, order())
    assert [event.next for event in events if isinstance(event, Fallback)] == ["triton/alpha"]
    assert [(run.model, run.arm, run.outcome) for run in diary.runs] == [
        ("beta", "treatment", "MODEL_UNAVAILABLE"),
        ("alpha", "", "OK"),
    ]


async def test_an_explorer_may_choose_another_candidate_and_says_why():
    class Last:
        def pick(self, decision, rng):
            return decision.candidates[-1], "to learn of it"

    execution, _ = await started(entry("alpha", **BETTER), entry("beta"), explorer=Last())
    events = await collect(execution, order())
    assert events[0].chosen.backend.name == "triton/beta"
    assert events[0].reasons[0] == "to learn of it"


async def test_what_an_order_carries_reaches_the_backend_and_the_journal():
    diary = Diary()
    execution, backends = await started(journal=diary)
    source = Source(b"...", "image/png")
    changed = replace(
        order(tier=Tier.HIGH, duration=5.0), tenant="t", user="u", generation_id="g", source=source, fps=24.0
    )
    await collect(execution, changed)
    job, run = backends["alpha"].jobs[0], diary.runs[0]
    assert (job.source, job.duration, job.fps, job.tier, job.attempt) == (source, 5.0, 24.0, Tier.HIGH, 1)
    assert (run.tenant, run.generation_id) == ("t", "g")


async def test_while_it_comes_back_the_queue_moves_as_far_as_it_is_trusted():
    execution, backends = await started(entry(concurrency=4, queue=1))
    fleet = execution.fleet
    fleet.fail("triton/alpha")
    await probe(fleet, "triton/alpha", 1)
    backends["alpha"].gates[1] = asyncio.Event()
    runs = [asyncio.create_task(collect(execution, order())) for _ in range(2)]
    await asyncio.sleep(0.01)
    (view,) = fleet.snapshot().backends
    assert (view.allowance, view.in_flight, view.waiting) == (1, 1, 1)
    with pytest.raises(MeshError, match="OVERLOADED") as caught:
        await collect(execution, order())
    assert caught.value.queue_position == 2
    assert caught.value.estimated_wait == pytest.approx(2 * view.call_seconds), "one at a time"
    backends["alpha"].gates[1].set()
    assert [kinds(events)[-1] for events in await asyncio.gather(*runs)] == ["Drawn"] * 2
    assert backends["alpha"].most_running == 1
    assert fleet.snapshot().backends[0].allowance == 4
