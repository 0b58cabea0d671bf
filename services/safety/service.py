"""SafetyService: prompts against rules, pictures before a panel of checkers, both against the policy."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from scrollintel.visual.v1 import safety_pb2, safety_pb2_grpc
from services.runtime.admission import Admission
from services.runtime.blobs import BlobStore
from services.runtime.language_model import opened
from services.runtime.server import ServerSpec
from services.runtime.triton import TritonClient
from services.safety.language_checker import LanguageChecker
from services.safety.pictures.composition import checkers
from services.safety.pictures.panel import Panel
from services.safety.pictures.rpcs import PictureRpcs
from services.safety.policyfile import PolicyFile
from services.safety.privacy.redactor import shipped
from services.safety.privacy.rpcs import PrivacyRpcs
from services.safety.prompts import PromptRpcs
from services.safety.provenance.rpcs import Provenance, ProvenanceRpcs
from services.safety.resemblance import Resemblance
from services.safety.rulebook import load_exemplars, load_rules
from services.safety.rules import RuleSet
from services.safety.settings import Settings
from services.safety.works.embedding import Embedder
from services.safety.works.registry import Registry
from services.safety.works.rpcs import Works, WorksRpcs
from services.safety.works.tables import open_tables

# First estimates of one check, for those that wait.
PROMPT_SECONDS = 0.005
PICTURE_SECONDS = 0.5
VIDEO_SECONDS = 10.0


class SafetyService(
    PromptRpcs, PictureRpcs, PrivacyRpcs, ProvenanceRpcs, WorksRpcs, safety_pb2_grpc.SafetyServiceServicer
):
    """Judges prompts and pictures. An unsafe one is an answer; one that could not be checked is an error."""

    def __init__(
        self,
        rules: RuleSet,
        resemblance: Resemblance | None,
        language: LanguageChecker | None,
        panel: Panel,
        policies: PolicyFile,
        blobs: BlobStore,
        provenance: Provenance,
        works: Works,
        settings: Settings,
    ) -> None:
        self._rules = rules
        self._policies = policies
        self._blobs = blobs
        self._resemblance = resemblance
        self._language = language
        self._panel = panel
        self._provenance = provenance
        self._works = works
        self._settings = settings
        self._prompts = Admission(settings.prompts, settings.prompts_waiting, PROMPT_SECONDS)
        self._pictures = Admission(settings.pictures, settings.pictures_waiting, PICTURE_SECONDS)
        self._videos = Admission(settings.videos, settings.videos_waiting, VIDEO_SECONDS)


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[SafetyService]:
    """Read rules and policy, open the store, the registry and the way to Triton; raises ValueError when the data is wrong."""
    rules = await asyncio.to_thread(load_rules, settings.rules)
    exemplars = await asyncio.to_thread(load_exemplars)
    policies = await asyncio.to_thread(PolicyFile, settings.policy, rules.disguises)
    await asyncio.to_thread(shipped)  # what redacts takes seconds to load, and no call shall wait for it
    blobs = BlobStore.open(settings.blob_url, settings.home)
    provenance = await Provenance.open(settings, blobs)
    async with (
        open_tables(settings.tables_url) as database,
        TritonClient(settings.triton_address) as triton,
        policies.watched(settings.policy_seconds),
        Resemblance(exemplars, triton, settings.exemplars_seconds) as resemblance,
        opened(settings) as model,
    ):
        compared = resemblance if settings.exemplars else None
        asked = LanguageChecker(model, settings.language_model_seconds) if settings.language_model else None
        registry = Registry(database, settings.works_fresh_seconds)
        embedder = Embedder(triton, settings.works_seconds)
        panel = Panel(checkers(triton, rules, registry, embedder, settings))
        works = Works(registry, embedder, blobs, settings)
        yield SafetyService(rules, compared, asked, panel, policies, blobs, provenance, works, settings)


def spec(settings: Settings | None = None) -> ServerSpec:
    """Return what makes the safety server."""
    return ServerSpec(
        name="safety",
        settings=settings or Settings(),
        services=[safety_pb2.DESCRIPTOR.services_by_name["SafetyService"]],
        build=build,
        register=safety_pb2_grpc.add_SafetyServiceServicer_to_server,
    )
