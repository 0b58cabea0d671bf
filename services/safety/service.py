"""SafetyService: prompts against rules, pictures against open_nsfw, both against the policy."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc
import numpy as np

from scrollintel.visual.v1 import safety_pb2, safety_pb2_grpc
from services.runtime import identity, images
from services.runtime.admission import Admission
from services.runtime.blobs import BlobStore
from services.runtime.server import ServerSpec
from services.runtime.triton import TritonClient
from services.safety import nsfw
from services.safety.policyfile import PolicyFile
from services.safety.privacy.redactor import shipped
from services.safety.privacy.rpcs import PrivacyRpcs
from services.safety.prompts import PromptRpcs
from services.safety.provenance.rpcs import Provenance, ProvenanceRpcs
from services.safety.resemblance import Resemblance
from services.safety.rulebook import load_exemplars, load_rules
from services.safety.rules import RuleSet
from services.safety.settings import Settings
from services.safety.unchecked import checking
from services.safety.verdict import Check, to_verdict

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

# First estimates of one check, for those that wait.
PROMPT_SECONDS = 0.005
PICTURE_SECONDS = 0.5


class SafetyService(PromptRpcs, PrivacyRpcs, ProvenanceRpcs, safety_pb2_grpc.SafetyServiceServicer):
    """Judges prompts and pictures. An unsafe one is an answer; one that could not be checked is an error."""

    def __init__(
        self,
        rules: RuleSet,
        resemblance: Resemblance | None,
        policies: PolicyFile,
        blobs: BlobStore,
        triton: TritonClient,
        provenance: Provenance,
        settings: Settings,
    ) -> None:
        self._rules = rules
        self._policies = policies
        self._blobs = blobs
        self._triton = triton
        self._resemblance = resemblance
        self._provenance = provenance
        self._settings = settings
        self._prompts = Admission(settings.prompts, settings.prompts_waiting, PROMPT_SECONDS)
        self._pictures = Admission(settings.pictures, settings.pictures_waiting, PICTURE_SECONDS)

    async def CheckImage(
        self, request: safety_pb2.CheckImageRequest, context: Context
    ) -> safety_pb2.CheckImageResponse:
        """Show a picture to open_nsfw in several views; the worst counts."""
        async with self._pictures.enter():
            with checking("the picture"):
                picture = await images.decode(await self._blobs.get(request.image))
                views = await asyncio.to_thread(nsfw.views, picture)
                probability = await self._probability(views)
                book = self._policies.book
                seen = Check(nsfw.CHECKER, book.scale.signals(probability))
                verdict = to_verdict([seen], book.of(identity.current().tenant).policy)
        return safety_pb2.CheckImageResponse(verdict=verdict, safety_score=1 - probability)

    async def _probability(self, views: nsfw.Pixels) -> float:
        """Return the highest probability among the views; raises ValueError unless there is one for each."""
        outputs = await self._triton.infer(nsfw.MODEL, {"image": views}, timeout=self._settings.nsfw_seconds)
        probabilities = np.asarray(outputs["probability"], dtype=np.float64).reshape(-1)
        if len(probabilities) != len(views):
            raise ValueError(f"{len(probabilities)} answers for {len(views)} views")
        return float(probabilities.max())  # a NaN stays one, and the scale refuses it


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[SafetyService]:
    """Read rules and policy, open the store and the way to Triton; raises ValueError when the data is wrong."""
    rules = await asyncio.to_thread(load_rules, settings.rules)
    exemplars = await asyncio.to_thread(load_exemplars)
    policies = await asyncio.to_thread(PolicyFile, settings.policy, rules.disguises)
    await asyncio.to_thread(shipped)  # what redacts takes seconds to load, and no call shall wait for it
    blobs = BlobStore.open(settings.blob_url, settings.home)
    provenance = await Provenance.open(settings, blobs)
    async with (
        TritonClient(settings.triton_address) as triton,
        policies.watched(settings.policy_seconds),
        Resemblance(exemplars, triton, settings.exemplars_seconds) as resemblance,
    ):
        compared = resemblance if settings.exemplars else None
        yield SafetyService(rules, compared, policies, blobs, triton, provenance, settings)


def spec(settings: Settings | None = None) -> ServerSpec:
    """Return what makes the safety server."""
    return ServerSpec(
        name="safety",
        settings=settings or Settings(),
        services=[safety_pb2.DESCRIPTOR.services_by_name["SafetyService"]],
        build=build,
        register=safety_pb2_grpc.add_SafetyServiceServicer_to_server,
    )
