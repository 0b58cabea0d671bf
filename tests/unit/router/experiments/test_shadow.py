"""Copies run behind the caller's back, and never at the caller's cost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
import structlog

from router.backends.protocol import Output, Recalled
from router.demand import Demand
from router.events import Drawn
from router.execution import Execution
from router.experiments import shadow
from router.experiments.experiment import Arm, Experiment, Plan
from router.experiments.shadow import MOST, MOST_RUNNING, Shadows
from router.experiments.spending import Spending
from router.order import Assignment, Order
from router.probing import probe
from router.runs import Run, Verdict
from router.snapshot import State
from router.tables import metadata
from services.runtime import deadline, identity
from services.runtime.database import open_database
from tests.unit.router.running import PAID, Diary, collect, error, started
from tests.unit.router.scripted import ScriptedBackend, entry

COPY = Arm("copy", "beta", 1.0, shadow=True)
EXPERIMENT = Experiment("exp-1", Plan((Arm("control", "alpha", 1.0), COPY)), started_at=0)
PAID_BETA = PAID | {"name": "openai/beta"}
CONTROL = Assignment("exp-1", "control", "alpha", "unit-1")


@dataclass
class Judges:
    """Scores every picture alike, and keeps what was said."""

    quality: float | None = 0.5
    failure: Exception | None = None
    prompts: list[str] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)

    async def score(self, picture: object, prompt: str) -> float | None:
        assert isinstance(picture, Output)
        self.prompts.append(prompt)
        if self.failure:
            raise self.failure
        return self.quality

    async def judge(self, verdict: Verdict, *, shadow: bool = False) -> list[Run]:
        assert shadow
        self.verdicts.append(verdict)
        return []


@dataclass
class Stage:
    """An execution over backends, and shadows beside it."""

    execution: Execution
    backends: dict[str, ScriptedBackend]
    shadows: Shadows
    diary: Diary
    judges: Judges

    def copy(self, order: Order | None = None) -> None:
        self.shadows.start(order or asked(), EXPERIMENT, COPY, self.execution)

    async def settled(self) -> None:
        await until(lambda: not self.shadows._tasks)


@asynccontextmanager
async def staged(tmp_path, *entries, budget: float = 0.0, seconds: float = 30) -> AsyncIterator[Stage]:
    diary, judges = Diary(), Judges()
    execution, backends = await started(
        *(entries or (entry("alpha"), entry("beta"))), seconds=seconds, journal=diary
    )
    async with open_database(f"sqlite:///{tmp_path}/router.sqlite", "experiments", metadata) as database:
        shadows = Shadows(Spending(database, budget), judges, judges)
        try:
            yield Stage(execution, backends, shadows, diary, judges)
        finally:
            await shadows.close()


def asked(number: int = 1, **demand: object) -> Order:
    """An order of the control, routed."""
    wanted = Demand(**({"model": "alpha", "images": 2} | demand))
    return Order(
        wanted,
        f"request-{number}",
        "a red apple",
        "",
        7,
        tenant="t",
        generation_id="gen-1",
        assignment=CONTROL,
    )


async def until(condition) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)


async def test_a_copy_is_the_same_work_on_the_arm_s_model_and_is_written_down_as_what_it_is(tmp_path):
    async with staged(tmp_path) as stage:
        stage.copy()
        await stage.settled()
        (job,) = stage.backends["beta"].jobs
        assert (job.prompt, job.seeds, job.preview_every) == ("a red apple", (7, 8), 0)
        (run,) = stage.diary.runs
        assert (run.backend, run.outcome, run.tenant) == ("triton/beta", "OK", "t")
        assert (run.experiment, run.arm, run.unit, run.shadow) == ("exp-1", "copy", "unit-1", True)
        # nothing that is said of the request itself shall be taken for this copy's
        assert (run.request_id, run.generation_id) == (job.request_id, "")
        assert job.request_id.startswith("shadow-")
        assert not stage.backends["alpha"].jobs


async def test_what_a_copy_draws_is_scored(tmp_path):
    async with staged(tmp_path) as stage:
        stage.copy()
        await stage.settled()
        (run,) = stage.diary.runs
        assert stage.judges.prompts == ["a red apple"] * 2
        assert [(one.request_id, one.tenant, one.quality) for one in stage.judges.verdicts] == [
            (run.request_id, "t", 0.5)
        ] * 2
        stage.judges.quality = None  # it cannot be scored
        stage.copy(asked(2))
        await stage.settled()
        assert len(stage.judges.verdicts) == 2


async def test_a_request_that_is_repeated_is_copied_under_the_same_name(tmp_path):
    async with staged(tmp_path) as stage:
        for number in (1, 1, 2):
            stage.copy(asked(number))
            await stage.settled()
        first, again, other = (job.request_id for job in stage.backends["beta"].jobs)
        assert first == again != other


async def test_a_copy_takes_no_slot_and_gives_way_to_a_caller(tmp_path):
    async with staged(tmp_path, entry("alpha"), entry("beta", concurrency=1)) as stage:
        beta = stage.backends["beta"]
        beta.gates[3] = gate = asyncio.Event()
        stage.copy()
        await until(lambda: beta.steps == 2)
        (view,) = (one for one in stage.execution.fleet.snapshot().backends if one.model == "beta")
        assert (view.in_flight, view.waiting, view.wait()) == (0, 0, 0)
        calling = asyncio.create_task(collect(stage.execution, asked(2, model="beta", images=1)))
        await until(lambda: len(beta.jobs) == 2)  # the caller has begun, though the copy has not ended
        await stage.settled()
        assert [(run.shadow, run.outcome) for run in stage.diary.runs] == [(True, "CANCELLED")]
        gate.set()
        assert isinstance((await calling)[-1], Drawn)
        assert stage.diary.runs[-1].outcome == "OK"
        assert not stage.judges.verdicts


async def test_a_copy_waits_for_an_idle_backend(tmp_path, monkeypatch):
    async with staged(tmp_path) as stage:
        async with stage.execution.fleet.turn("triton/beta"):
            stage.copy()
            await asyncio.sleep(0.1)
            assert not stage.backends["beta"].jobs
        await stage.settled()
        assert len(stage.backends["beta"].jobs) == 1
        monkeypatch.setattr(shadow, "PATIENCE_SECONDS", 0.05)
        async with stage.execution.fleet.turn("triton/beta"):
            stage.copy(asked(2))
            await stage.settled()
        assert len(stage.backends["beta"].jobs) == 1


@pytest.mark.parametrize("state", [State.LOADABLE, State.NEEDS_WEIGHTS, State.UNAVAILABLE])
async def test_nothing_is_loaded_or_woken_for_a_copy(tmp_path, monkeypatch, state):
    monkeypatch.setattr(shadow, "PATIENCE_SECONDS", 0.02)
    async with staged(tmp_path) as stage:
        stage.backends["beta"].health = state
        await probe(stage.execution.fleet, "triton/beta", 1)
        stage.copy()
        await stage.settled()
        assert not stage.backends["beta"].jobs


async def test_few_run_at_one_time_and_one_too_many_is_dropped(tmp_path):
    names = ["beta", "gamma", "delta"]
    async with staged(tmp_path, entry("alpha"), *(entry(name) for name in names)) as stage:
        gate = asyncio.Event()
        for name in names:
            stage.backends[name].gates[1] = gate
        for number in range(MOST + 3):
            arm = replace(COPY, model=names[number % len(names)])
            stage.shadows.start(asked(number), EXPERIMENT, arm, stage.execution)
        await until(lambda: sum(len(one.jobs) for one in stage.backends.values()) == MOST_RUNNING)
        await asyncio.sleep(0.1)
        assert sum(one.running for one in stage.backends.values()) == MOST_RUNNING
        gate.set()
        await stage.settled()
        assert sum(len(one.jobs) for one in stage.backends.values()) == MOST
        assert all(one.most_running == 1 for one in stage.backends.values() if one.jobs)


async def test_a_copy_that_costs_money_needs_a_budget_of_its_own(tmp_path):
    paid = entry("beta", **PAID_BETA)
    async with staged(tmp_path, entry("alpha"), paid) as stage:
        stage.copy()
        await stage.settled()
        assert not stage.backends["beta"].jobs
    async with staged(tmp_path, entry("alpha"), paid, budget=0.10) as stage:
        for number in (1, 2):  # 0.08 each
            stage.copy(asked(number))
            await stage.settled()
        assert len(stage.backends["beta"].jobs) == 1
        (run,) = stage.diary.runs
        assert run.usd == pytest.approx(0.08)


async def test_a_paid_backend_is_not_left_for_a_caller_who_has_room_there(tmp_path):
    paid = entry("beta", **PAID_BETA, concurrency=2)
    async with staged(tmp_path, entry("alpha"), paid, budget=1.0) as stage:
        beta = stage.backends["beta"]
        beta.gates[3] = gate = asyncio.Event()
        stage.copy()
        await until(lambda: beta.steps == 2)
        async with stage.execution.fleet.turn("openai/beta"):
            await asyncio.sleep(0.1)
            assert stage.shadows._tasks
            async with stage.execution.fleet.turn("openai/beta"):
                await stage.settled()
        gate.set()
        assert [run.outcome for run in stage.diary.runs] == ["CANCELLED"]


async def test_a_tenant_that_allows_no_providers_is_not_copied_to_one(tmp_path, monkeypatch):
    monkeypatch.setattr(shadow, "PATIENCE_SECONDS", 0.02)
    async with staged(tmp_path, entry("alpha"), entry("beta", **PAID_BETA), budget=1.0) as stage:
        stage.copy(asked(external=False))
        await stage.settled()
        assert not stage.backends["beta"].jobs


async def test_a_copy_that_fails_is_written_down_and_nobody_trusts_the_backend_less(tmp_path):
    async with staged(tmp_path) as stage:
        for number in range(8):
            stage.backends["beta"].failures[2] = error("MODEL_FAILED")
            stage.copy(asked(number))
            await stage.settled()
        assert stage.diary.outcomes() == [("beta", "MODEL_FAILED")] * 8
        assert stage.execution.fleet.members["triton/beta"].state is State.READY
        assert not stage.judges.verdicts


async def test_a_copy_has_a_deadline_of_its_own_and_its_caller_s_name(tmp_path):
    seen = []

    class Watching(ScriptedBackend):
        async def execute(self, job, timeout):
            seen.append((deadline.remaining(), timeout, identity.current().tenant))
            async for event in super().execute(job, timeout):
                yield event

    async with staged(tmp_path, seconds=0.3) as stage:
        stage.execution.fleet.members["triton/beta"].backend = watching = Watching(entry("beta"))
        watching.gates[3] = asyncio.Event()
        with deadline.until(0.01):
            stage.copy()
        await stage.settled()
        ((left, timeout, tenant),) = seen
        assert 0.1 < left <= timeout == 0.3
        assert tenant == "t"
        assert [run.outcome for run in stage.diary.runs] == ["DEADLINE_EXCEEDED"]


async def test_copies_end_with_the_router(tmp_path):
    async with staged(tmp_path) as stage:
        beta = stage.backends["beta"]
        beta.gates[3] = asyncio.Event()
        stage.copy()
        stage.copy(asked(2))  # waits for the first one's backend
        await until(lambda: beta.steps == 2)
        await stage.shadows.close()
        assert beta.running == 0
        assert [run.outcome for run in stage.diary.runs] == ["CANCELLED"]
        await stage.settled()


async def test_no_prompt_is_logged_whatever_fails(tmp_path):
    class Broken(ScriptedBackend):
        async def execute(self, job, timeout):
            raise ValueError(f"cannot draw {job.prompt}")
            yield

    async with staged(tmp_path) as stage:
        with structlog.testing.capture_logs() as logs:
            stage.judges.failure = error("DEPENDENCY_UNAVAILABLE")
            stage.copy()
            await stage.settled()
            stage.judges.failure = ValueError("cannot score a red apple")
            stage.copy(asked(2))
            await stage.settled()
            stage.execution.fleet.members["triton/beta"].backend = Broken(entry("beta"))
            stage.copy(asked(3))
            await stage.settled()
        assert [one["log_level"] for one in logs] == ["warning", "error", "error"]
        assert "apple" not in repr(logs)
        assert [run.outcome for run in stage.diary.runs] == ["OK", "OK", "INTERNAL"]


async def test_shadows_are_compared_on_requests_that_all_of_them_could_serve(tmp_path):
    twin = Arm("twin", "alpha", 1.0, shadow=True)
    experiment = replace(EXPERIMENT, plan=Plan((EXPERIMENT.plan.control, twin, COPY)))
    one_at_a_time = entry("beta", limits={"steps": 100, "images": 1})
    async with staged(tmp_path, entry("alpha"), one_at_a_time) as stage:
        for number, images in enumerate((1, 2)):
            for arm in (twin, COPY):
                stage.shadows.start(asked(number, images=images), experiment, arm, stage.execution)
        await stage.settled()
        assert [len(job.seeds) for job in stage.backends["alpha"].jobs] == [1]
        assert [len(job.seeds) for job in stage.backends["beta"].jobs] == [1]


async def test_a_copy_that_is_answered_out_of_the_ledger_is_neither_counted_nor_scored_again(
    tmp_path, monkeypatch
):
    async with staged(tmp_path) as stage:
        backend = stage.backends["beta"]
        draw = backend.execute

        async def recalled(job, timeout):
            yield Recalled()
            async for event in draw(job, timeout):
                yield event

        monkeypatch.setattr(backend, "execute", recalled)
        stage.copy()
        await stage.settled()
        assert backend.jobs
        assert not stage.diary.runs
        assert not stage.judges.verdicts
