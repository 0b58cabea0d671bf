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
from services.safety.provenance import film, signer
from services.safety.provenance.credentials import load
from services.safety.provenance.manifest import Facts, Reading, Source
from services.safety.provenance.seal import Seal, Work
from services.safety.provenance.watermark import Found
from services.safety.settings import Settings

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
T = TypeVar("T")

log = structlog.get_logger()

FOLDER = "provenance"
NEAR = timedelta(days=30)  # the end of a certificate is told of at each start from then on

# First estimates of one call, for those that wait.
SEAL_SECONDS = 0.2
VERIFY_SECONDS = 0.5
VIDEO_SECONDS = 20.0

SEALED_LATE, VERIFIED_LATE = (
    "the media could not be sealed in time",
    "the media could not be verified in time",
)


class Provenance:
    """Seals and verifies stored pictures, in threads, and videos, in processes, a few at a time."""

    def __init__(self, seal: Seal, blobs: BlobStore, settings: Settings) -> None:
        self._seal = seal
        self._blobs = blobs
        self._seconds = settings.seal_seconds
        self._seals = Admission(settings.seals, settings.seals_waiting, SEAL_SECONDS)
        self._verifications = Admission(settings.seals, settings.seals_waiting, VERIFY_SECONDS)
        self._video_seconds = settings.sealed_video_seconds
        self._videos = Admission(settings.sealed_videos, settings.sealed_videos_waiting, VIDEO_SECONDS)

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
        """Seal one picture or video and store what came of it."""
        if request.media.media_type == film.MEDIA_TYPE:
            return await self._video_in_turn(SEALED_LATE, lambda: self._sealed_video(request))
        return await self._in_turn(self._seals, self._seconds, SEALED_LATE, lambda: self._sealed(request))

    async def verify(self, media: MediaRef) -> safety_pb2.VerifyProvenanceResponse:
        """Read a picture's or a video's manifest and look for the watermark."""
        if media.media_type == film.MEDIA_TYPE:
            return await self._video_in_turn(VERIFIED_LATE, lambda: self._verified_video(media))
        return await self._in_turn(
            self._verifications, self._seconds, VERIFIED_LATE, lambda: self._verified(media)
        )

    async def _sealed(self, request: safety_pb2.SealMediaRequest) -> safety_pb2.SealMediaResponse:
        data = await self._blobs.get(request.media)
        media_type, *_ = await asyncio.to_thread(images.media_type_of, data)
        picture = await images.decode_as_shown(data)
        source = await self._source(request)
        facts = Facts(request.generation_id, request.model)
        description = await asyncio.to_thread(_redacted, request.description)
        sealed = await asyncio.to_thread(
            self._seal.seal, picture, media_type, _work(request), facts, source, description
        )
        height, width = picture.shape[:2]
        media = await self._blobs.put(sealed.data, media_type=media_type, width=width, height=height)
        return safety_pb2.SealMediaResponse(media=media, watermark=f"{sealed.payload:08x}")

    async def _sealed_video(self, request: safety_pb2.SealMediaRequest) -> safety_pb2.SealMediaResponse:
        data = await self._blobs.get(request.media)
        source = await self._source(request)
        facts = Facts(request.generation_id, request.model)
        made, payload = await self._seal.seal_video(data, _work(request), facts, source, self._video_seconds)
        media = await self._blobs.put(
            made.data, media_type=film.MEDIA_TYPE, width=made.width, height=made.height, frames=made.frames
        )
        return safety_pb2.SealMediaResponse(media=media, watermark=f"{payload:08x}")

    async def _source(self, request: safety_pb2.SealMediaRequest) -> Source | None:
        if not request.HasField("source"):
            return None
        data = await self._blobs.get(request.source)
        if film.is_film(data):
            return Source(data, film.MEDIA_TYPE)
        media_type, *_ = await asyncio.to_thread(images.media_type_of, data)
        return Source(data, media_type)

    async def _verified(self, media: MediaRef) -> safety_pb2.VerifyProvenanceResponse:
        data = await self._blobs.get(media)
        media_type, *_ = await asyncio.to_thread(images.media_type_of, data)
        picture = await images.decode(data)
        read = await asyncio.to_thread(self._seal.read, data, media_type)
        return _told(read, await asyncio.to_thread(self._seal.find, picture))

    async def _verified_video(self, media: MediaRef) -> safety_pb2.VerifyProvenanceResponse:
        data = await self._blobs.get(media)
        found = await self._seal.find_in_video(data, self._video_seconds)
        return _told(await asyncio.to_thread(self._seal.read, data, film.MEDIA_TYPE), found)

    async def _video_in_turn(self, late: str, work: Callable[[], Awaitable[T]]) -> T:
        """Work on a video when it is this call's turn; what the file breaks is MEDIA_INVALID."""
        try:
            return await self._in_turn(self._videos, self._video_seconds, late, work)
        except film.FilmError as error:
            rule = f"the media is refused: {error}"
            raise MeshError(errors_pb2.ERROR_REASON_MEDIA_INVALID, rule, field="media") from None
        except (OSError, TimeoutError) as error:
            log.warning("a video's process failed", cause=type(error).__name__)
            raise _late(late) from error

    async def _in_turn(
        self, turns: Admission, seconds: float, late: str, work: Callable[[], Awaitable[T]]
    ) -> T:
        """Work when it is this call's turn; raises MeshError with the words `late` when that takes too long."""
        return await in_turn(turns, seconds, work, lambda: _late(late))


def _late(words: str) -> MeshError:
    return MeshError(
        errors_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE,
        f"{words}; try again shortly",
        retry_after=DEFAULT_RETRY_SECONDS,
    )


def _work(request: safety_pb2.SealMediaRequest) -> Work:
    return Work(identity.current().tenant, request.work)


def _told(read: Reading, found: Found) -> safety_pb2.VerifyProvenanceResponse:
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
        """Mark and sign a finished picture or video."""
        return await self._provenance.seal(request)

    async def VerifyProvenance(
        self, request: safety_pb2.VerifyProvenanceRequest, context: Context
    ) -> safety_pb2.VerifyProvenanceResponse:
        """Tell where a picture or a video comes from."""
        return await self._provenance.verify(request.media)
