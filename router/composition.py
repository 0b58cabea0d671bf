"""Puts the router together: configuration, tables, backends, learning and experiments, each opened and closed in its turn."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from router.backends.fal_queue import FalAccount
from router.backends.midjourney import MidjourneyAccount, MidjourneyProvider
from router.backends.openai import OpenAIAccount, OpenAIProvider
from router.backends.paid import PaidBackend
from router.backends.pika import PikaProvider
from router.backends.protocol import Backend
from router.backends.provider import Provider
from router.backends.runway import RunwayAccount, RunwayProvider
from router.backends.triton import TritonBackend
from router.configuration import ConfigurationError
from router.decision import Policy
from router.discovery import Discovery, discovering, read
from router.entries import BackendEntry, PaidKind, load_entries
from router.execution import Execution
from router.experiments.configuration import load_experiments
from router.experiments.engine import Experiments, Served, experimenting
from router.experiments.experiment import Plan
from router.experiments.scoring import QualityScorer
from router.experiments.shadow import Shadows
from router.experiments.spending import Spending
from router.experiments.store import ExperimentStore
from router.exploration import Explorer
from router.fleet import Fleet
from router.learning import Learning
from router.ledger import Ledger
from router.performance import Performance, open_performance
from router.policy import load_policy
from router.probing import probing
from router.providers import load_providers, variable
from router.settings import ProviderSettings, Settings
from router.tables import metadata
from router.tenants import Tenants, load_tenants
from router.unserved import Unserved
from services.runtime.blobs import BlobStore
from services.runtime.channels import connect
from services.runtime.database import Database, open_database
from services.runtime.models import Models
from services.runtime.triton import TritonClient

TABLES = "the router's tables"

Adapt = Callable[[BackendEntry], Backend]
MakeProvider = Callable[[BackendEntry], Provider]


@dataclass(frozen=True)
class Parts:
    """What the service is made of."""

    fleet: Fleet
    execution: Execution
    experiments: Experiments
    performance: Performance
    tenants: Tenants
    blobs: BlobStore
    unserved: Unserved

    def models(self) -> list[str]:
        """Return the names of all models that some backend serves, sorted."""
        return self.fleet.snapshot().models()


@asynccontextmanager
async def compose(settings: Settings, adapt: Adapt | None = None) -> AsyncIterator[Parts]:
    """Open everything that the router works with; `adapt` makes own backends of entries, by default Triton's.

    Raises ConfigurationError for a file that is wrong, MeshError DEPENDENCY_UNAVAILABLE where the database is not there.
    """
    files = await asyncio.to_thread(_read, settings)
    own, bought = files.own, files.bought
    blobs = BlobStore.open(settings.blob_url, settings.home)
    learning = Learning([*own, *bought])
    async with AsyncExitStack() as stack:
        models = await stack.enter_async_context(connect(settings.models_address))
        quality = await stack.enter_async_context(connect(settings.quality_address))
        database = await stack.enter_async_context(_database(settings))
        performance = await stack.enter_async_context(
            open_performance(database, learning, settings.replica, settings.merge_seconds)
        )
        if adapt is None:
            adapt = await stack.enter_async_context(_on_triton(settings.triton_address, Models(models)))
        ledger = Ledger(database, settings.replica)
        paid = await stack.enter_async_context(_paid(settings, bought, ledger, blobs))
        backends = {**{entry.name: adapt(entry) for entry in own}, **paid}
        entries = sorted((*own, *bought), key=lambda entry: entry.name)
        fleet = Fleet.of(entries, lambda entry: backends[entry.name], settings.probe_misses, learning)
        shadows = Shadows(Spending(database, settings.shadow_usd), performance, QualityScorer(quality, blobs))
        experiments = Experiments(ExperimentStore(database), performance, shadows, lambda: _served(fleet))
        await experiments.declare(files.plans)
        probes = await stack.enter_async_context(
            probing(fleet, settings.probe_seconds, settings.probe_timeout_seconds)
        )
        discovery = Discovery(_repository(settings), backends, fleet, adapt, probes, performance.recall)
        await stack.enter_async_context(discovering(discovery, settings.discovery_seconds))
        await stack.enter_async_context(experimenting(experiments, settings.experiment_seconds))
        execution = Execution(
            fleet, files.policy, settings.run_seconds, performance, Explorer(files.policy), experiments
        )
        yield Parts(fleet, execution, experiments, performance, files.tenants, blobs, Unserved(models))


class _Files(NamedTuple):
    """What the configuration says: everything is read before anything is opened, so that a fault stops the start."""

    policy: Policy
    tenants: Tenants
    own: tuple[BackendEntry, ...]
    bought: tuple[BackendEntry, ...]
    plans: Mapping[str, Plan]


def _read(settings: Settings) -> _Files:
    own = load_entries(settings.backends_file)
    bought = load_providers(settings.providers_file, [entry.name for entry in own])
    built = read(_repository(settings))[0].values()
    return _Files(
        load_policy(settings.weights_file),
        load_tenants(settings.tenants_file),
        own,
        bought,
        load_experiments(settings.experiments_file, [entry.model for entry in (*own, *bought, *built)]),
    )


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[Database]:
    opening = open_database(settings.tables_url, TABLES, metadata)
    async with AsyncExitStack() as stack:
        try:
            database = await stack.enter_async_context(opening)
        except ValueError as error:
            where = variable("database_url") if settings.database_url else settings.tables_url
            raise ConfigurationError(f"{where}: {error}") from None
        yield database


@asynccontextmanager
async def _on_triton(address: str, leases: Models) -> AsyncIterator[Adapt]:
    """Make backends on Triton, one connection to each address."""
    async with AsyncExitStack() as stack:
        clients: dict[str, TritonClient] = {}

        def adapt(entry: BackendEntry) -> Backend:
            at = entry.address or address
            if at not in clients:
                clients[at] = client = TritonClient(at)
                stack.push_async_exit(client)
            return TritonBackend(entry, clients[at], leases)

        yield adapt


@asynccontextmanager
async def _paid(
    settings: ProviderSettings, entries: Iterable[BackendEntry], ledger: Ledger, blobs: BlobStore
) -> AsyncIterator[Mapping[str, Backend]]:
    """Make the backends of paid providers by name; calls under way are given some time at the end."""
    async with AsyncExitStack() as stack:
        openai = await stack.enter_async_context(OpenAIAccount(settings.openai_api_key, settings.openai_url))
        runway = await stack.enter_async_context(RunwayAccount(settings.runway_api_key, settings.runway_url))
        pika = await stack.enter_async_context(FalAccount(settings.pika_api_key, settings.pika_url))
        midjourney = await stack.enter_async_context(
            MidjourneyAccount(settings.midjourney_api_key, settings.midjourney_url)
        )
        make: Mapping[PaidKind, MakeProvider] = {
            "openai": lambda entry: OpenAIProvider(entry, openai),
            "runway": lambda entry: RunwayProvider(entry, runway),
            "pika": lambda entry: PikaProvider(entry, pika),
            "midjourney": lambda entry: MidjourneyProvider(entry, midjourney),
        }
        backends = {
            entry.name: PaidBackend(entry, make[entry.kind](entry), ledger, blobs)  # type: ignore[index]
            for entry in entries
        }
        try:
            for backend in backends.values():
                await backend.__aenter__()
            yield backends
        finally:
            # Together: each waits for what is under way.
            await asyncio.gather(*(backend.close() for backend in backends.values()))


def _repository(settings: Settings) -> Path:
    return settings.repository or settings.home / "model_repository"


def _served(fleet: Fleet) -> Served:
    return frozenset((view.model, view.modality) for view in fleet.snapshot().backends)
