"""SafetyService: prompts against rules, pictures against open_nsfw, both against the policy."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeAlias

import grpc
import numpy as np
import structlog

from scrollintel.visual.v1 import errors_pb2, safety_pb2, safety_pb2_grpc
from services.runtime import identity, images
from services.runtime.admission import Admission
from services.runtime.blobs import BlobStore
from services.runtime.deadline import MARGIN_SECONDS, budget, remaining
from services.runtime.errors import MeshError
from services.runtime.server import ServerSpec
from services.runtime.triton import TritonClient
from services.safety import nsfw
from services.safety.category import Action, Category
from services.safety.policy import strongest
from services.safety.policybook import TenantPolicy
from services.safety.policyfile import PolicyFile
from services.safety.privacy.redactor import shipped
from services.safety.privacy.rpcs import PrivacyRpcs
from services.safety.provenance.rpcs import Provenance, ProvenanceRpcs
from services.safety.resemblance import Resemblance
from services.safety.rulebook import load_exemplars, load_rules
from services.safety.rules import RuleSet
from services.safety.settings import Settings
from services.safety.verdict import Check, to_verdict

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

# First estimates of one check, for those that wait.
PROMPT_SECONDS = 0.005
PICTURE_SECONDS = 0.5
RETRY_SECONDS = 1.0

# The picture's own faults: the caller can mend them, and they are no pass either.
OF_THE_MEDIA = frozenset(
    {
        errors_pb2.ERROR_REASON_NOT_FOUND,
        errors_pb2.ERROR_REASON_MEDIA_INVALID,
        errors_pb2.ERROR_REASON_FIELD_INVALID,
    }
)

log = structlog.get_logger()


class SafetyService(PrivacyRpcs, ProvenanceRpcs, safety_pb2_grpc.SafetyServiceServicer):
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

    async def CheckPrompt(
        self, request: safety_pb2.CheckPromptRequest, context: Context
    ) -> safety_pb2.CheckPromptResponse:
        """Check a prompt against every rule, and the negative prompt against those on injection.

        What the rules do not refuse is compared with exemplars, too, where that is configured.
        """
        async with self._prompts.enter():
            with checking("the prompt"):
                held = self._policies.of(identity.current().tenant)
                async with asyncio.timeout(budget(self._settings.prompt_seconds)):
                    read = await asyncio.to_thread(self._read, request.prompt, request.negative_prompt, held)
                    checks = [read, *await self._compared(request.prompt, read, held)]
                verdict = to_verdict(checks, held.policy)
        return safety_pb2.CheckPromptResponse(verdict=verdict)

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

    async def _compared(self, prompt: str, read: Check, held: TenantPolicy) -> list[Check]:
        """Compare a prompt with exemplars, unless the rules refuse it already; empty where that is not configured.

        What the tenant allows is left out of the comparison.
        """
        if self._resemblance is None:
            return []
        if strongest(held.policy.judge(read.signals or ())) is Action.BLOCK:
            return [Check(self._resemblance.checker, None)]
        plain = await asyncio.to_thread(self._rules.disguises.plain, prompt)
        for _, phrase in held.allowed:
            plain = phrase.taken_out(plain)
        return [Check(self._resemblance.checker, await self._resemblance.check(plain))]

    def _read(self, prompt: str, negative_prompt: str, held: TenantPolicy) -> Check:
        """Read a prompt by the rules and by what the tenant forbids and allows besides."""
        signals = self._rules.check(prompt, extra=held.terms, allowed=held.allowed)
        if negative_prompt:
            signals += self._rules.check(
                negative_prompt, [Category.PROMPT_INJECTION], extra=held.terms, allowed=held.allowed
            )
        return Check(self._rules.checker, list(dict.fromkeys(signals)))

    async def _probability(self, views: nsfw.Pixels) -> float:
        """Return the highest probability among the views; raises ValueError unless there is one for each."""
        outputs = await self._triton.infer(nsfw.MODEL, {"image": views}, timeout=self._settings.nsfw_seconds)
        probabilities = np.asarray(outputs["probability"], dtype=np.float64).reshape(-1)
        if len(probabilities) != len(views):
            raise ValueError(f"{len(probabilities)} answers for {len(views)} views")
        return float(probabilities.max())  # a NaN stays one, and the scale refuses it


@contextmanager
def checking(what: str) -> Iterator[None]:
    """Turn whatever keeps a check from running into SAFETY_UNCHECKED; `what` names what was to be checked.

    Faults of the media, and a caller's own deadline, are told as they are.
    """
    try:
        yield
    except MeshError as error:
        if error.reason in OF_THE_MEDIA or (
            error.reason == errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED and _caller_is_late()
        ):
            raise
        log.warning("not checked", what=what, cause=str(error))
        raise _unchecked(what, error.retry_after) from error
    except Exception as error:  # whatever it was, it is not a pass
        log.exception("not checked", what=what)
        raise _unchecked(what, None) from error


def _caller_is_late() -> bool:
    left = remaining()
    return left is not None and left <= 2 * MARGIN_SECONDS


def _unchecked(what: str, retry_after: float | None) -> MeshError:
    return MeshError(
        errors_pb2.ERROR_REASON_SAFETY_UNCHECKED,
        f"{what} could not be checked for safety, which is no pass; try again",
        retry_after=RETRY_SECONDS if retry_after is None else retry_after,
    )


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
