"""An execution over scripted backends, the orders it gets, and what came of them."""

from contextlib import aclosing

from router.demand import Demand
from router.events import Event
from router.execution import Execution
from router.fleet import Fleet
from router.hedging import Hedging
from router.order import Order
from router.policy import load_policy
from router.probing import probe
from router.runs import Run
from router.settings import WEIGHTS_FILE
from scrollintel.visual.v1 import errors_pb2
from services.runtime.errors import MeshError
from tests.unit.router.scripted import ScriptedBackend, entry

POLICY = load_policy(WEIGHTS_FILE)
BETTER = {"prior": {"quality": 0.9, "seconds_per_step": 0.01}}
PAID = {
    "kind": "openai",
    "provider_model": "scripted",
    "price": {"per": "image", "usd": 0.04, "source": "made up", "read": "2026-11-23"},
}
NEVER = Hedging(burst=0, share=0)


class Diary:
    """A journal that keeps everything."""

    def __init__(self) -> None:
        self.runs: list[Run] = []

    def ended(self, run: Run) -> None:
        self.runs.append(run)

    def outcomes(self) -> list[tuple[str, str]]:
        """Each run's backend, by the last part of its name, and its outcome."""
        return [(run.backend.rpartition("/")[2], run.outcome) for run in self.runs]


async def started(*entries, seconds: float = 30, **parts) -> tuple[Execution, dict[str, ScriptedBackend]]:
    """An execution over a backend for each entry, probed once; the backends by the last part of their names."""
    backends: dict[str, ScriptedBackend] = {}
    fleet = Fleet.of(
        entries or [entry()],
        lambda one: backends.setdefault(one.name.rpartition("/")[2], ScriptedBackend(one)),
    )
    for name in fleet.members:
        await probe(fleet, name, 1)
    return Execution(fleet, POLICY, seconds, **({"hedging": NEVER} | parts)), backends


def order(previews: int = 0, seed: int = 7, **demand) -> Order:
    return Order(Demand(**demand), "request-1", "a red apple", "blurry", seed, previews)


def error(reason: str, message: str = "it broke", **details) -> MeshError:
    return MeshError(errors_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}"), message, **details)


async def collect(execution: Execution, one: Order, into: list[Event] | None = None) -> list[Event]:
    """Run an order to its end and return what it told; `into` has it where it fails."""
    events: list[Event] = [] if into is None else into
    async with aclosing(execution.run(one)) as running:
        async for event in running:
            events.append(event)  # noqa: PERF401 - what was told before a failure counts
    return events


def kinds(events: list[Event]) -> list[str]:
    return [type(event).__name__ for event in events]
