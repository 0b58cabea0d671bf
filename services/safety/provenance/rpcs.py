"""The rpcs of provenance: seal what is to be delivered, tell where a picture comes from."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias, TypeVar

import grpc
import structlog

from scrollintel.visual.v1 import errors_pb2, safety_pb2
from scrollintel.visual.v1.media_pb2 import MediaRef
from services.runtime import identity, images
from services.runtime.admission import Admission
from services.runtime.blobs import BlobStore
from services.runtime.errors import DEFAULT_RETRY_SECONDS, MeshError
from services.runtime.turns import in_turn
from services.safety.privacy.redactor import shipped
from services.safety.provenance import signer
from services.safety.provenance.credentials import load
from services.safety.provenance.manifest import Facts, Source
from services.safety.provenance.seal import Seal, Work
from services.safety.settings import Settings

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
T = TypeVar("T")

log = structlog.get_logger()

FOLDER = "provenance"
NEAR = timedelta(days=30)  # the end of a certificate is told of at each start from then on

# First estimates of one call, for those that wait.
SEAL_SECONDS = 0.2
VERIFY_SECONDS = 0.5


class Provenance:
    """Seals and verifies stored pictures, in threads and a few at a time."""

    def __init__(self, seal: Seal, blobs: BlobStore, settings: Settings) -> None:
        self._seal = seal
        self._blobs = blobs
        self._seconds = settings.seal_seconds
        self._seals = Admission(settings.seals, settings.seals_waiting, SEAL_SECONDS)
        self._verifications = Admission(settings.seals, settings.seals_waiting, VERIFY_SECONDS)

    @classmethod
    async def open(cls, settings: Settings, blobs: BlobStore) -> "Provenance":
        """Read the credentials, or make those for development.

        Raises MeshError FIELD_INVALID, with the setting and the rule, where they are none.
        """

        def opened() -> Seal:
            given = (settings.c2pa_chain, settings.c2pa_key, settings.watermark_key)
            credentials = load(settings.home / FOLDER, *given)
            seal, ends = Seal(credentials), signer.ends(credentials.chain)
            if ends - datetime.now(UTC) < NEAR:
                log.warning(
                    "the certificate that manifests are signed with ends soon", ends=f"{ends:%Y-%m-%d}"
                )
            return seal

        try:
            return cls(await asyncio.to_thread(opened), blobs, settings)
        except ValueError as error:
            raise MeshError(errors_pb2.ERROR_REASON_FIELD_INVALID, str(error)) from error

    async def seal(self, request: safety_pb2.SealMediaRequest) -> safety_pb2.SealMediaResponse:
        """Seal one picture and store what came of it."""
        late = "the picture could not be sealed in time"
        return await self._in_turn(self._seals, late, lambda: self._sealed(request))

    async def verify(self, media: MediaRef) -> safety_pb2.VerifyProvenanceResponse:
        """Read a picture's manifest and look for the watermark."""
        late = "the picture could not be verified in time"
        return await self._in_turn(self._verifications, late, lambda: self._verified(media))

    async def _sealed(self, request: safety_pb2.SealMediaRequest) -> safety_pb2.SealMediaResponse:
        data = await self._blobs.get(request.media)
        media_type, *_ = await asyncio.to_thread(images.media_type_of, data)
        picture = await images.decode_as_shown(data)
        source = await self._source(request.source) if request.HasField("source") else None
        facts = Facts(request.generation_id, request.model)
        description = await asyncio.to_thread(_redacted, request.description)
        work = Work(identity.current().tenant, request.work)
        sealed = await asyncio.to_thread(
            self._seal.seal, picture, media_type, work, facts, source, description
        )
        height, width = picture.shape[:2]
        media = await self._blobs.put(sealed.data, media_type=media_type, width=width, height=height)
        return safety_pb2.SealMediaResponse(media=media, watermark=f"{sealed.payload:08x}")

    async def _source(self, media: MediaRef) -> Source:
        data = await self._blobs.get(media)
        media_type, *_ = await asyncio.to_thread(images.media_type_of, data)
        return Source(data, media_type)

    async def _verified(self, media: MediaRef) -> safety_pb2.VerifyProvenanceResponse:
        data = await self._blobs.get(media)
        media_type, *_ = await asyncio.to_thread(images.media_type_of, data)
        picture = await images.decode(data)
        read = await asyncio.to_thread(self._seal.read, data, media_type)
        found = await asyncio.to_thread(self._seal.find, picture)
        return safety_pb2.VerifyProvenanceResponse(
            manifest_found=read.found,
            manifest_valid=read.facts is not None,
            issuer=read.issuer,
            generation_id=read.facts.generation_id if read.facts else "",
            model=read.facts.model if read.facts else "",
            reasons=read.reasons,
            watermark_found=found.marked,
            watermark="" if found.payload is None else f"{found.payload:08x}",
            watermark_p_value=found.p_value,
        )

    async def _in_turn(self, turns: Admission, late: str, work: Callable[[], Awaitable[T]]) -> T:
        """Work when it is this call's turn; raises MeshError with the words `late` when that takes too long."""

        def told() -> MeshError:
            return MeshError(
                errors_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE,
                f"{late}; try again shortly",
                retry_after=DEFAULT_RETRY_SECONDS,
            )

        return await in_turn(turns, self._seconds, work, told)


def _redacted(description: Mapping[str, str]) -> dict[str, str]:
    """Return a file's text without personal data: files are shown around, while the asset keeps its owner's words."""
    redactor = shipped()
    return {key: redactor.redact(text).text for key, text in description.items()}


class ProvenanceRpcs:
    """The rpcs, for the servicer that has a `_provenance`."""

    _provenance: Provenance

    async def SealMedia(
        self, request: safety_pb2.SealMediaRequest, context: Context
    ) -> safety_pb2.SealMediaResponse:
        """Mark and sign a finished picture."""
        return await self._provenance.seal(request)

    async def VerifyProvenance(
        self, request: safety_pb2.VerifyProvenanceRequest, context: Context
    ) -> safety_pb2.VerifyProvenanceResponse:
        """Tell where a picture comes from."""
        return await self._provenance.verify(request.media)
