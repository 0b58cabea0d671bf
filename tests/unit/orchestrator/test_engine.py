import asyncio
from contextlib import ExitStack

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from scrollintel.visual.v1 import errors_pb2, generation_pb2
from services.orchestrator import defaults, store
from services.orchestrator.engine import Engine
from services.orchestrator.log import TERMINAL
from services.orchestrator.pipeline import Work
from services.orchestrator.store import Generation, Store
from services.runtime import deadline, identity
from services.runtime.admission import Admission
from services.runtime.errors import MeshError
from tests.unit.orchestrator.scripted import PLACES, ScriptedSteps, image_request

LATE = 20.0  # seconds: what has not come by then does not come

FAILURE = MeshError(errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE, "the model is away")
SECRET = "/etc/secret"


def generation(request_id="", **fields):
    request = image_request(request_id=request_id, **fields)
    return Generation(
        Work(store.new_id(), defaults.fill(request.spec)), "local", request_id, defaults.fingerprint(request)
    )


def kinds(one):
    found, sequence = [], 1
    while (event := one.log.read(sequence)) is not None:
        assert event.sequence == sequence
        found.append(event.WhichOneof("event"))
        sequence += 1
    return found


def terminal(one):
    (event,) = [one.log.read(n + 1) for n, kind in enumerate(kinds(one)) if kind in TERMINAL]
    assert event.sequence == len(one.log)
    return event


def reason(one):
    return MeshError.from_status(terminal(one).failed.status).name


def build(steps, running=2, waiting=2, limit=5.0):
    admission = Admission(running, waiting, 0.1)
    return Engine(steps, Store(100), admission, {"image": limit, "enhancement": limit}), admission


async def until_ended(one):
    async with asyncio.timeout(LATE):
        async for _ in one.log.watch():
            pass


async def test_a_generation_runs_to_its_result():
    engine, admission = build(ScriptedSteps())
    one = generation(num_images=2)
    engine.start(one)
    await engine.let_in(one)
    assert one.state in (generation_pb2.GENERATION_STATE_QUEUED, generation_pb2.GENERATION_STATE_RUNNING)
    await until_ended(one)
    result = terminal(one).completed.result
    assert kinds(one)[0] == "queued"
    assert one.log.read(1).queued.position == 0
    assert (result.id, result.state) == (one.id, generation_pb2.GENERATION_STATE_SUCCEEDED)
    assert len(result.assets) == 2
    assert result.provenance == defaults.provenance(one.spec)
    assert result.generation_time.ToNanoseconds() > 0
    assert result.quality.safety.value == pytest.approx(0.97)
    assert admission.active == 0


@pytest.mark.parametrize("place", [place for place in PLACES if place != "score_image"])
async def test_a_bug_anywhere_ends_in_internal_with_fixed_words(place):
    engine, _ = build(ScriptedSteps(failing={place: ValueError(SECRET)}))
    one = generation()
    engine.start(one)
    await until_ended(one)
    status = terminal(one).failed.status
    assert reason(one) == "INTERNAL"
    assert SECRET not in str(status)
    assert status.message.startswith("internal error; quote trace")


@pytest.mark.parametrize("place", PLACES)
async def test_cancel_at_every_stage_stops_the_work_and_says_so(place):
    steps = ScriptedSteps(hanging={place})
    engine, admission = build(steps)
    one = generation()
    engine.start(one)
    await asyncio.wait_for(steps.reached.wait(), LATE)
    engine.cancel(one)
    engine.cancel(one)
    await until_ended(one)
    assert (reason(one), one.state) == ("CANCELLED", generation_pb2.GENERATION_STATE_CANCELLED)
    assert terminal(one).failed.status.message == "cancelled on request"
    assert steps.stopped == [place]
    assert admission.active == 0


async def test_cancel_before_the_first_instruction_ends_it_too():
    engine, _ = build(ScriptedSteps())
    one = generation()
    engine.start(one)
    engine.cancel(one)
    await until_ended(one)
    await asyncio.wait_for(engine.let_in(one), LATE)
    assert reason(one) == "CANCELLED"


async def test_cancelling_what_has_ended_changes_nothing():
    engine, _ = build(ScriptedSteps())
    one = generation()
    engine.start(one)
    await until_ended(one)
    engine.cancel(one)
    await asyncio.sleep(0)
    assert kinds(one)[-1] == "completed"


async def test_the_limit_of_the_server_ends_a_generation_and_says_so():
    steps = ScriptedSteps(hanging={"step"})
    engine, _ = build(steps, limit=0.05)
    one = generation()
    engine.start(one)
    await until_ended(one)
    assert (reason(one), one.state) == ("DEADLINE_EXCEEDED", generation_pb2.GENERATION_STATE_CANCELLED)
    assert "0.05 s" in terminal(one).failed.status.message
    assert steps.stopped == ["step"]


async def test_an_enhancement_has_a_limit_of_its_own():
    """What a CPU restores in minutes must not end when a picture should have been drawn."""
    steps = ScriptedSteps(hanging={"enhance_image"})
    engine = Engine(steps, Store(100), Admission(2, 2, 0.1), {"image": 0.01, "enhancement": 0.2})
    spec = generation_pb2.GenerationSpec(
        enhancement={
            "source": {"uri": f"blob:{'0' * 64}", "sha256": "0" * 64},
            "operations": [{"upscale": {"factor": 2}}],
        }
    )
    one = Generation(Work(store.new_id(), spec), "local", "", "")
    engine.start(one)
    await until_ended(one)
    assert reason(one) == "DEADLINE_EXCEEDED"
    assert "0.2 s" in terminal(one).failed.status.message


async def test_waiting_generations_hear_their_position_and_the_next_is_refused_at_once():
    steps = ScriptedSteps(hanging={"step"})
    engine, admission = build(steps, running=1, waiting=2)
    ones = [generation(request_id=f"r{number}") for number in range(4)]
    for one in ones:
        engine.start(one)
    await asyncio.wait_for(steps.reached.wait(), LATE)
    with pytest.raises(MeshError) as raised:
        await engine.let_in(ones[3])
    refusal = raised.value
    assert (refusal.name, refusal.queue_position) == ("OVERLOADED", 3)
    assert refusal.retry_after > 0
    assert refusal.estimated_wait > 0
    assert len(ones[3].log) == 0
    assert engine._store.requested("local", "r3", ones[3].fingerprint) is None
    assert [event.queued.position for event in (one.log.read(1) for one in ones[:3])] == [0, 1, 2]
    assert ones[2].log.read(1).queued.eta.ToNanoseconds() > 0
    assert ones[2].state == generation_pb2.GENERATION_STATE_QUEUED
    engine.cancel(ones[1])
    await until_ended(ones[1])
    assert ones[2].log.read(2).queued.position == 1
    assert kinds(ones[1]) == ["queued", "failed"]
    steps.release.set()
    await until_ended(ones[2])
    assert kinds(ones[2])[-1] == "completed"
    assert admission.active == 0


async def test_a_failure_that_may_pass_is_not_replayed_to_the_same_request_and_another_one_is():
    """Whoever is told to try again, and does so under its request_id, must have a chance."""
    away = MeshError(errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE, "the model is away", retry_after=1.0)
    for failure, starts_anew in (
        (away, True),
        (MeshError(errors_pb2.ERROR_REASON_MODEL_UNKNOWN, "no"), False),
        (RuntimeError("a bug"), True),
    ):
        engine, _ = build(ScriptedSteps(failing={"routed": failure}))
        one = generation(request_id="r")
        engine.start(one)
        await until_ended(one)
        assert reason(one) == getattr(failure, "name", "INTERNAL")
        assert (engine._store.requested("local", "r", one.fingerprint) is None) == starts_anew
        assert engine._store.get("local", one.id) is one


async def test_only_the_last_caller_who_goes_stops_the_work():
    steps = ScriptedSteps(hanging={"step"})
    engine, _ = build(steps)
    one = generation(request_id="r")
    engine.start(one)
    with engine.attended(one):
        with engine.attended(one):
            await asyncio.wait_for(steps.reached.wait(), LATE)
        await asyncio.sleep(0.01)
        assert not one.ended
    await until_ended(one)
    assert (reason(one), steps.stopped) == ("CANCELLED", ["step"])
    assert "closed the stream" in terminal(one).failed.status.message
    # Nothing was delivered, so the same request starts anew.
    assert engine._store.requested("local", "r", one.fingerprint) is None


async def test_a_caller_still_hears_that_its_deadline_passed():
    steps = ScriptedSteps(hanging={"step"})
    engine, _ = build(steps)
    one = generation()
    engine.start(one)
    with deadline.until(0.2), engine.attended(one):
        await until_ended(one)
        assert deadline.remaining() > 0
    assert reason(one) == "DEADLINE_EXCEEDED"
    assert "caller's deadline" in terminal(one).failed.status.message


async def test_one_callers_deadline_is_not_the_others():
    steps = ScriptedSteps(hanging={"step"})
    engine, _ = build(steps)
    one = generation()
    with deadline.until(0.15):
        engine.start(one)
        late = engine.attended(one)
        late.__enter__()
    with engine.attended(one):
        await asyncio.sleep(0.2)
        assert not one.ended
        steps.release.set()
        await until_ended(one)
    late.__exit__(None, None, None)
    assert kinds(one)[-1] == "completed"


class Identified(ScriptedSteps):
    async def enhance_prompt(self, image):
        self.seen = identity.current(), deadline.remaining()
        return await super().enhance_prompt(image)


async def test_the_work_acts_for_its_caller_within_the_servers_limit():
    steps = Identified()
    engine, _ = build(steps, limit=5.0)
    one = generation()
    with identity.acting_as(identity.Identity("acme", "r-1")), deadline.until(0.5):
        engine.start(one)
    await until_ended(one)
    who, left = steps.seen
    assert who == identity.Identity("acme", "r-1")
    assert 4 < left <= 5


async def test_closing_waits_for_what_runs_then_ends_it_and_takes_nothing_new():
    steps = ScriptedSteps(hanging={"create_asset:1"})
    engine, admission = build(steps)
    soon, never = generation(), generation(num_images=2)
    engine.start(soon)
    engine.start(never)
    await asyncio.wait_for(engine.close(0.1), LATE)
    assert kinds(soon)[-1] == "completed"
    assert (reason(never), never.state) == ("DEPENDENCY_UNAVAILABLE", generation_pb2.GENERATION_STATE_FAILED)
    assert "send the request again" in terminal(never).failed.status.message
    assert admission.active == 0
    with pytest.raises(MeshError, match="stopping"):
        engine.start(generation())
    await engine.close(0.1)


class Life(RuleBasedStateMachine):
    """Whatever callers, steps and operators do: one terminal event each, numbers without gaps, nothing left behind."""

    attending = Bundle("attending")
    generations = Bundle("generations")

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.steps = ScriptedSteps()
        self.engine, self.admission = build(self.steps, running=2, waiting=2)
        self.all = []

    def do(self, action, ticks=0):
        async def doing():
            result = action()
            for _ in range(ticks):
                await asyncio.sleep(0)
            return result

        return self.loop.run_until_complete(doing())

    @rule(target=generations, images=st.integers(1, 3), ticks=st.integers(0, 8))
    def start(self, images, ticks):
        one = generation(num_images=images)
        self.all.append(one)
        self.do(lambda: self.engine.start(one), ticks)
        return one

    @rule(
        places=st.sets(st.sampled_from(PLACES), max_size=2),
        error=st.sampled_from([FAILURE, ValueError(SECRET)]),
    )
    def break_steps(self, places, error):
        self.steps.failing = dict.fromkeys(places, error)

    @rule(places=st.sets(st.sampled_from(PLACES), max_size=2))
    def hang_steps(self, places):
        self.steps.hanging = set(places)

    @rule()
    def release(self):
        self.do(self.steps.release.set, 3)
        self.steps.release = asyncio.Event()

    @rule(target=attending, one=generations)
    def join(self, one):
        stack = ExitStack()
        self.do(lambda: stack.enter_context(self.engine.attended(one)))
        return stack

    @rule(stack=consumes(attending), ticks=st.integers(0, 3))
    def leave(self, stack, ticks):
        self.do(stack.close, ticks)

    @rule(one=generations, ticks=st.integers(0, 3))
    def cancel(self, one, ticks):
        self.do(lambda: self.engine.cancel(one), ticks)

    @rule(ticks=st.integers(1, 60))
    def go_on(self, ticks):
        self.do(lambda: None, ticks)

    @invariant()
    def logs_are_sound(self):
        for one in self.all:
            found = kinds(one)
            assert [kind for kind in found[:-1] if kind in TERMINAL] == []
            assert one.ended == (bool(found) and found[-1] in TERMINAL)
        assert self.admission.active <= 2
        assert self.admission.queued <= 2

    def teardown(self):
        self.loop.run_until_complete(self.engine.close(0))
        for one in self.all:
            found = kinds(one)
            if found:
                assert found[-1] in TERMINAL
                assert SECRET not in str(one.message())
            else:  # there was no room for it, and it is not remembered
                assert one.refusal.name == "OVERLOADED"
                assert one.id not in self.engine._store._generations
        assert (self.admission.active, self.admission.queued) == (0, 0)
        assert not self.engine._runs
        assert not asyncio.all_tasks(self.loop)
        self.loop.close()


Life.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestLife = Life.TestCase


async def test_several_are_let_in_together_or_not_at_all():
    engine, admission = build(ScriptedSteps(hanging={"step"}), running=2, waiting=2)
    first = [generation() for _ in range(3)]
    engine.start(*first)
    with pytest.raises(MeshError) as raised:
        engine.start(generation(), generation())  # though none of the first three has reached the door yet
    assert (raised.value.name, raised.value.queue_position) == ("OVERLOADED", 3)
    for one in first:
        await engine.let_in(one)
    assert (admission.active, admission.queued) == (2, 1)
    last = generation()
    engine.start(last)
    await engine.let_in(last)
    for one in (*first, last):
        engine.cancel(one)
        await until_ended(one)
    assert admission.active == 0
