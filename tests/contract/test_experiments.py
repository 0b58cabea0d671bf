"""Experiments over the wire: every rpc, and an experiment from its first request to its winner."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration

from router.backends.protocol import Output
from router.demand import Demand
from router.events import Drawn
from router.execution import Execution
from router.experiments import shadow
from router.experiments.engine import Experiments
from router.experiments.rpcs import ExperimentRpcs
from router.experiments.sequential import MINIMUM_UNITS
from router.experiments.shadow import Shadows
from router.experiments.spending import Spending
from router.experiments.store import ExperimentStore
from router.order import Order
from router.performance import open_performance
from router.tables import metadata
from scrollintel.visual.v1 import quality_pb2, router_pb2, router_pb2_grpc
from services.runtime.channels import connect
from services.runtime.database import open_database
from services.runtime.errors import MeshError
from services.runtime.identity import LOCAL_TENANT, Identity, acting_as
from services.runtime.server import ServerSpec, serve
from services.runtime.settings import ServerSettings, env
from tests.unit.router.running import collect, error, started
from tests.unit.router.scripted import ScriptedBackend, entry

RUNNING, DECIDED = router_pb2.EXPERIMENT_STATE_RUNNING, router_pb2.EXPERIMENT_STATE_DECIDED
GUARDED, STOPPED = router_pb2.EXPERIMENT_STATE_GUARDED, router_pb2.EXPERIMENT_STATE_STOPPED
BY_REQUEST = router_pb2.EXPERIMENT_UNIT_REQUEST
LARGE = [{"width": 32, "height": 32}]
QUALITY = {"alpha": 0.5, "beta": 0.7, "gamma": 0.9}


class Settings(ServerSettings):
    model_config = env("router")


class BySize:
    """Scores what shadows draw: gamma's pictures are the larger ones."""

    async def score(self, picture: Output, prompt: str) -> float | None:
        return QUALITY["gamma" if picture.pixels.shape[0] > 16 else "alpha"]


@dataclass
class Stage:
    """A router's experiments at work: the rpcs, the execution whose requests are split, and what it runs on."""

    stub: "router_pb2_grpc.RouterServiceAsyncStub"
    experiments: Experiments
    execution: Execution
    backends: dict[str, ScriptedBackend]

    async def create(self, *arms: router_pb2.ExperimentArm, **fields: object) -> router_pb2.Experiment:
        request = router_pb2.CreateExperimentRequest(arms=arms or PAIR, **fields)
        return (await self.stub.CreateExperiment(request)).experiment

    async def get(self, experiment_id: str) -> router_pb2.Experiment:
        return (await self.stub.GetExperiment(router_pb2.GetExperimentRequest(id=experiment_id))).experiment

    async def request(self, number: int, user: str = "") -> str:
        """Run a request to its end; return the model that drew it."""
        name = f"request-{number}"
        order = Order(Demand(steps=1), name, "a red apple", "", number, tenant=LOCAL_TENANT, user=user)
        (drawn,) = [event for event in await collect(self.execution, order) if isinstance(event, Drawn)]
        return drawn.model

    async def evaluate(self) -> None:
        """Let the results so far be looked at."""
        await self.experiments.results.flush()
        await self.experiments.evaluate()

    async def settled(self) -> None:
        """Wait until no copy is under way."""
        async with asyncio.timeout(20):
            while self.experiments.shadows._tasks:
                await asyncio.sleep(0.001)

    async def report(self, number: int, **verdict: object) -> None:
        await self.stub.ReportOutcome(
            router_pb2.ReportOutcomeRequest(request_id=f"request-{number}", **verdict)
        )


@asynccontextmanager
async def staged(tmp_path) -> AsyncIterator[Stage]:
    execution, backends = await started(
        entry("alpha", queue=64), entry("beta", queue=64), entry("gamma", sizes=LARGE)
    )
    fleet = execution.fleet

    def served():
        return frozenset((view.model, view.modality) for view in fleet.snapshot().backends)

    async with (
        open_database(f"sqlite:///{tmp_path}/router.sqlite", "the router's tables", metadata) as database,
        open_performance(database, fleet.learning, "one") as performance,
    ):
        shadows = Shadows(Spending(database, 0.0), performance, BySize())
        experiments = Experiments(ExperimentStore(database), performance, shadows, served)
        execution = Execution(
            fleet, execution.policy, 30, journal=performance, splitter=experiments, hedging=execution.hedging
        )

        @asynccontextmanager
        async def build(_: ServerSettings) -> AsyncIterator[ExperimentRpcs]:
            yield ExperimentRpcs(experiments, performance, lambda: fleet.snapshot().models())

        spec = ServerSpec(
            name="router",
            settings=Settings(home=tmp_path, grace_seconds=0.2),
            services=[router_pb2.DESCRIPTOR.services_by_name["RouterService"]],
            build=build,
            register=router_pb2_grpc.add_RouterServiceServicer_to_server,
        )
        async with serve(spec) as server, connect(server.address) as channel:
            stage = Stage(router_pb2_grpc.RouterServiceStub(channel), experiments, execution, backends)
            yield stage
        await shadows.close()


@pytest_asyncio.fixture
async def stage(tmp_path) -> AsyncIterator[Stage]:
    async with staged(tmp_path) as stage:
        yield stage


def arm(name: str, model: str, share: float, shadow: bool = False) -> router_pb2.ExperimentArm:
    return router_pb2.ExperimentArm(name=name, model=model, share=share, shadow=shadow)


PAIR = (arm("control", "alpha", 0.5), arm("other", "beta", 0.5))


async def failing(call) -> MeshError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    told = MeshError.from_rpc(caught.value, "router")
    assert caught.value.code() is told.code
    return told


async def test_an_experiment_is_told_with_its_defaults(stage):
    created = await stage.create()
    assert created.id
    assert list(created.arms) == list(PAIR)
    assert (created.running, created.state) == (True, RUNNING)
    assert (created.unit, created.metric) == (
        router_pb2.EXPERIMENT_UNIT_REQUEST,
        router_pb2.EXPERIMENT_METRIC_QUALITY,
    )
    assert created.duration.ToTimedelta().days == 7
    rails = created.guardrails
    assert (rails.error_rate, rails.unsafe_rate, rails.cost_usd) == (0.05, 0.02, 0.10)
    assert created.HasField("started_at")
    assert not created.HasField("ended_at")
    assert not created.results  # only where it is read alone
    read = await stage.get(created.id)
    assert [result.arm for result in read.results] == ["control", "other"]
    assert not read.results[1].HasField("quality")
    assert not read.results[1].HasField("p_value")
    del read.results[:]
    assert read == created


async def test_what_is_asked_for_is_kept(stage):
    rails = router_pb2.Guardrails(error_rate=0.0, cost_usd=2.0)
    created = await stage.create(
        unit=BY_REQUEST,
        metric=router_pb2.EXPERIMENT_METRIC_SECONDS,
        duration=Duration(seconds=90 * 86_400),
        guardrails=rails,
    )
    assert (created.unit, created.metric) == (BY_REQUEST, router_pb2.EXPERIMENT_METRIC_SECONDS)
    assert created.duration.seconds == 90 * 86_400
    rails.unsafe_rate = 0.02  # a 0 that is given is no default
    assert created.guardrails == rails


async def test_creating_is_repeated_safely(stage):
    created = await stage.create(request_id="request-1")
    assert await stage.create(request_id="request-1") == created
    told = await failing(stage.create(request_id="request-1", unit=router_pb2.EXPERIMENT_UNIT_TENANT))
    assert (told.name, told.field) == ("REQUEST_ID_REUSED", "request_id")


@pytest.mark.parametrize(
    ("arms", "name", "field", "words"),
    [
        ((PAIR[0], arm("other", "beta", 0.6)), "FIELD_INVALID", "arms", "must sum to 1, not to 1.1"),
        ((PAIR[0], arm("control", "beta", 0.5)), "FIELD_INVALID", "arms[1].name", "two arms are called"),
        ((arm("a", "alpha", 1, True), arm("b", "beta", 1)), "FIELD_INVALID", "arms[0].shadow", "control"),
        ((*PAIR, arm("c", "gamma", 0.1, True)), "FIELD_INVALID", "arms[2].shadow", "must be one"),
        ((PAIR[0], arm("other", "bata", 0.5)), "MODEL_UNKNOWN", "arms[1].model", "use beta"),
        ((PAIR[0],), "FIELD_INVALID", "arms", ""),
        ((PAIR[0], arm("other", "beta", 1.5)), "FIELD_INVALID", "arms.share", ""),
    ],
)
async def test_a_wrong_experiment_is_refused_with_the_field(stage, arms, name, field, words):
    told = await failing(stage.create(*arms))
    assert (told.name, told.field) == (name, field)
    assert words in told.message


async def test_experiments_are_listed_by_pages_newest_first(stage):
    ids = [(await stage.create()).id for _ in range(5)]
    request = router_pb2.ListExperimentsRequest(page_size=2)
    pages = []
    while True:
        page = await stage.stub.ListExperiments(request)
        pages.append([one.id for one in page.experiments])
        assert not any(one.results for one in page.experiments)
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert pages == [ids[4:2:-1], ids[2:0:-1], ids[:1]]
    everything = await stage.stub.ListExperiments(router_pb2.ListExperimentsRequest())
    assert len(everything.experiments) == 5
    request.page_token = "made up"
    assert (await failing(stage.stub.ListExperiments(request))).field == "page_token"


async def test_an_experiment_is_stopped_once(stage):
    created = await stage.create(unit=BY_REQUEST)
    request = router_pb2.StopExperimentRequest(id=created.id)
    stopped = (await stage.stub.StopExperiment(request)).experiment
    assert (stopped.state, stopped.running, stopped.reason) == (STOPPED, False, "it was stopped")
    assert stopped.HasField("ended_at")
    assert (await stage.stub.StopExperiment(request)).experiment == stopped == await stage.get(created.id)


async def test_what_is_not_there_is_not_found(stage):
    nobody = {"id": "exp-nobody"}
    for call in (
        stage.stub.GetExperiment(router_pb2.GetExperimentRequest(**nobody)),
        stage.stub.StopExperiment(router_pb2.StopExperimentRequest(**nobody)),
        stage.report(1, rating=5),
    ):
        assert (await failing(call)).name == "NOT_FOUND"


async def test_an_outcome_is_the_tenant_s_own_and_says_something(stage):
    await stage.request(1)
    await stage.report(1, rating=5)
    with acting_as(Identity("somebody-else")):
        assert (await failing(stage.report(1, rating=1))).name == "NOT_FOUND"
    told = await failing(stage.report(1, quality=quality_pb2.QualityMetrics()))
    assert (told.name, told.field) == ("FIELD_INVALID", "quality.overall")
    assert (await failing(stage.report(1))).name == "FIELD_INVALID"


async def test_traffic_is_split_judged_and_decided(stage):
    created = await stage.create(unit=BY_REQUEST)
    drew = Counter()
    for number in range(300):
        model = await stage.request(number)
        drew[model] += 1
        if min(drew["alpha"], drew["beta"]) > MINIMUM_UNITS:
            break
        score = quality_pb2.Score(value=QUALITY[model] + 0.1 * (number % 3), measured_by="test/1")
        await stage.report(number, quality=quality_pb2.QualityMetrics(overall=score))
    assert set(drew) == {"alpha", "beta"}
    await stage.evaluate()
    ended = await stage.get(created.id)
    assert (ended.state, ended.running, ended.winner) == (DECIDED, False, "other")
    assert "other is better in quality" in ended.reason
    control, other = ended.results
    assert (control.requests, other.requests) == (drew["alpha"], drew["beta"])
    assert (control.quality, other.quality) == (pytest.approx(0.6, abs=0.03), pytest.approx(0.8, abs=0.03))
    assert (control.errors, control.unsafe, control.cost_usd) == (0, 0, 0)
    assert control.seconds > 0
    assert not control.HasField("p_value")
    assert other.p_value < 0.05
    await stage.request(999)
    assert (await stage.get(created.id)).results == ended.results  # nobody is split any more


async def test_an_arm_that_fails_ends_the_experiment_and_its_callers_get_their_pictures(stage):
    created = await stage.create(unit=BY_REQUEST)
    stage.backends["beta"].failures[0] = error("OUT_OF_MEMORY")
    jobs = stage.backends["beta"].jobs
    for number in range(300):
        assert await stage.request(number) != "beta"
        if min(len(jobs), number + 1 - len(jobs)) > MINIMUM_UNITS:
            break
    await stage.evaluate()
    ended = await stage.get(created.id)
    assert (ended.state, ended.winner) == (GUARDED, "")
    assert ended.reason == "other fails more than control: 100 % against 0 %, where 5 % more is allowed"
    other = ended.results[1]
    assert other.requests == other.errors == len(jobs)
    assert not other.HasField("seconds")


async def test_users_of_one_tenant_are_units_of_their_own(stage):
    created = await stage.create(unit=router_pb2.EXPERIMENT_UNIT_USER)
    drew = defaultdict(set)
    for number in range(12):
        drew[f"user-{number % 4}"].add(await stage.request(number, user=f"user-{number % 4}"))
        await stage.report(number, rating=3)
    assert all(len(models) == 1 for models in drew.values())
    await stage.experiments.results.flush()
    tallies = await stage.experiments.results_of(await stage.experiments.store.get(created.id))
    assert sum(tally.failed.units for tally in tallies.values()) == 4
    assert sum(tally.failed.values for tally in tallies.values()) == 12


async def test_what_users_and_the_safety_check_say_is_joined(stage):
    created = await stage.create(unit=BY_REQUEST)
    for number in range(10):
        await stage.request(number)
        await stage.report(number, rating=2)
        await stage.report(number, rating=4)  # another of its pictures
        await stage.report(number, unsafe=number < 5)
    results = (await stage.get(created.id)).results
    assert sum(result.requests for result in results) == 10
    assert sum(result.unsafe for result in results) == 5
    assert {result.rating for result in results if result.requests} == {3.0}


async def test_shadows_draw_and_are_scored_and_decided_while_callers_get_the_control_s_pictures(
    stage, monkeypatch
):
    monkeypatch.setattr(shadow, "GLANCE_SECONDS", 0.002)
    arms = (
        arm("control", "alpha", 1.0),
        arm("twin", "alpha", 1.0, shadow=True),
        arm("copy", "gamma", 1.0, shadow=True),
    )
    created = await stage.create(*arms, unit=BY_REQUEST)
    for number in range(MINIMUM_UNITS):
        assert await stage.request(number) == "alpha"
        await stage.settled()
    await stage.evaluate()
    ended = await stage.get(created.id)
    control, twin, copy = ended.results
    assert (control.requests, twin.requests, copy.requests) == (MINIMUM_UNITS,) * 3
    assert not control.HasField("quality")  # nobody judged what callers got
    assert (twin.quality, copy.quality) == (pytest.approx(0.5), pytest.approx(0.9))
    assert (ended.state, ended.winner) == (DECIDED, "copy")
