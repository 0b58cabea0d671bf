"""AssetService: from the wire to the library and back."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeAlias

import grpc
import structlog

from scrollintel.visual.v1 import assets_pb2, assets_pb2_grpc, errors_pb2
from scrollintel.visual.v1.media_pb2 import MediaRef
from scrollintel.visual.v1.quality_pb2 import QualityMetrics
from services.assets.byte_range import OffsetPastEndError, resolve_range
from services.assets.library import Library, open_library
from services.assets.page_token import InvalidPageTokenError, decode_page_token, encode_page_token
from services.assets.records import Record, Records
from services.assets.settings import Settings
from services.assets.tables import open_tables
from services.assets.template_rpcs import TemplateRpcs
from services.assets.templates import Templates
from services.assets.upload import Upload, UploadRefusedError
from services.runtime import identity, images
from services.runtime.admission import Admission
from services.runtime.blobs import SCHEME, BlobStore, digest_of
from services.runtime.errors import MeshError
from services.runtime.server import ServerSpec

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

DEFAULT_PAGE = 50
SWEEP_SECONDS = 3600.0
UPLOAD_SECONDS = 1.0  # first estimate of an upload's length, for those that wait

log = structlog.get_logger()


class AssetService(TemplateRpcs, assets_pb2_grpc.AssetServiceServicer):
    """Serves stored results, uploads and templates; a tenant sees its own."""

    def __init__(self, library: Library, templates: Templates, settings: Settings) -> None:
        self._library = library
        self._templates = templates
        self._uploads = Admission(settings.uploads, settings.uploads_waiting, UPLOAD_SECONDS)
        self._idle_seconds = settings.idle_seconds

    async def UploadAsset(
        self,
        request_iterator: AsyncIterator[assets_pb2.UploadAssetRequest],
        context: Context,
    ) -> assets_pb2.UploadAssetResponse:
        """Gather an upload, check it whole, and only then store it."""
        async with self._uploads.enter():
            header, upload = await self._receive(request_iterator)
            try:
                data = await asyncio.to_thread(upload.finish)
            except UploadRefusedError as refusal:
                raise _media_invalid(refusal) from refusal
            height, width = (await images.decode(data)).shape[:2]
            record = Record(
                tenant=identity.current().tenant,
                id=uuid.uuid4().hex,
                sha256=await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest()),
                media_type=header.media_type,
                size_bytes=len(data),
                width=width,
                height=height,
                frames=1,
                metadata=dict(header.metadata),
            )
            stored = await self._library.store(record, data)
        return assets_pb2.UploadAssetResponse(asset=to_asset(stored))

    async def DownloadAsset(
        self, request: assets_pb2.DownloadAssetRequest, context: Context
    ) -> AsyncIterator[assets_pb2.DownloadAssetResponse]:
        """Read a piece, send it, read the next: a slow reader holds one piece in memory."""
        record = await self._library.get(identity.current().tenant, request.id)
        try:
            wanted = resolve_range(record.size_bytes, request.offset, request.limit)
        except OffsetPastEndError as error:
            raise _field_invalid("offset", error) from error
        for piece in wanted.chunks():
            data = await self._library.blobs.get_range(record.sha256, piece.start, piece.end - piece.start)
            yield assets_pb2.DownloadAssetResponse(data=data)

    async def CreateAsset(
        self, request: assets_pb2.CreateAssetRequest, context: Context
    ) -> assets_pb2.CreateAssetResponse:
        """Record media that lies in the store."""
        media = request.media
        digest_of(media)
        record = Record(
            tenant=identity.current().tenant,
            id=request.id,
            sha256=media.sha256,
            media_type=media.media_type,
            size_bytes=media.size_bytes,
            width=media.width,
            height=media.height,
            frames=media.frames,
            generation_id=request.generation_id,
            quality=request.quality.SerializeToString() if request.HasField("quality") else None,
            seed=request.seed if request.HasField("seed") else None,
            metadata=dict(request.metadata),
        )
        return assets_pb2.CreateAssetResponse(asset=to_asset(await self._library.adopt(record)))

    async def GetAsset(
        self, request: assets_pb2.GetAssetRequest, context: Context
    ) -> assets_pb2.GetAssetResponse:
        """Read one record."""
        record = await self._library.get(identity.current().tenant, request.id)
        return assets_pb2.GetAssetResponse(asset=to_asset(record))

    async def ListAssets(
        self, request: assets_pb2.ListAssetsRequest, context: Context
    ) -> assets_pb2.ListAssetsResponse:
        """Read a page, and one record more to know whether there is a next."""
        try:
            before = decode_page_token(request.page_token)
        except InvalidPageTokenError as error:
            raise _field_invalid("page_token", error) from error
        size = request.page_size or DEFAULT_PAGE
        page = await self._library.records.page(identity.current().tenant, before, size + 1)
        more = len(page) > size
        return assets_pb2.ListAssetsResponse(
            assets=[to_asset(record) for record in page[:size]],
            next_page_token=encode_page_token(page[size - 1].sequence) if more else "",
        )

    async def DeleteAsset(
        self, request: assets_pb2.DeleteAssetRequest, context: Context
    ) -> assets_pb2.DeleteAssetResponse:
        """Remove a record, and its bytes with the last one."""
        await self._library.remove(identity.current().tenant, request.id)
        return assets_pb2.DeleteAssetResponse()

    async def _receive(
        self, requests: AsyncIterator[assets_pb2.UploadAssetRequest]
    ) -> tuple[assets_pb2.UploadHeader, Upload]:
        messages = aiter(requests)
        first = await self._next(messages)
        if first is None or first.WhichOneof("part") != "header":
            raise _field_invalid("header", ValueError("must be the first message of an upload"))
        upload = Upload(first.header.media_type, first.header.sha256)
        while (message := await self._next(messages)) is not None:
            if message.WhichOneof("part") == "header":
                raise _field_invalid("header", ValueError("must come once, first"))
            try:
                upload.add(message.data)
            except UploadRefusedError as refusal:
                raise _media_invalid(refusal) from refusal
        return first.header, upload

    async def _next(
        self, messages: AsyncIterator[assets_pb2.UploadAssetRequest]
    ) -> assets_pb2.UploadAssetRequest | None:
        try:
            async with asyncio.timeout(self._idle_seconds):
                return await anext(messages, None)
        except TimeoutError:
            raise MeshError(
                errors_pb2.ERROR_REASON_DEADLINE_EXCEEDED,
                f"no message of the upload came for {self._idle_seconds:g} s; send it again without pauses",
            ) from None


def to_asset(record: Record) -> assets_pb2.Asset:
    """Return a record as it goes over the wire."""
    asset = assets_pb2.Asset(
        id=record.id,
        media=MediaRef(
            uri=SCHEME + record.sha256,
            sha256=record.sha256,
            media_type=record.media_type,
            size_bytes=record.size_bytes,
            width=record.width,
            height=record.height,
            frames=record.frames,
        ),
        generation_id=record.generation_id,
        quality=None if record.quality is None else QualityMetrics.FromString(record.quality),
        seed=record.seed,
        metadata=record.metadata,
    )
    asset.created_at.FromDatetime(record.created_at)
    return asset


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[AssetService]:
    """Open the tables and the store, and serve from them."""
    settings.home.mkdir(parents=True, exist_ok=True)
    blobs = BlobStore.open(settings.blob_url, settings.home)
    async with open_tables(settings.tables_url) as tables, open_library(Records(tables), blobs) as library:
        sweeper = asyncio.create_task(sweep_regularly(library, timedelta(hours=settings.unrecorded_hours)))
        try:
            yield AssetService(library, Templates(tables, settings.templates), settings)
        finally:
            sweeper.cancel()
            await asyncio.gather(sweeper, return_exceptions=True)


async def sweep_regularly(library: Library, age: timedelta) -> None:
    """Clear away what nobody recorded, now and every hour, until cancelled; a store that is away is asked again."""
    while True:
        try:
            swept = await library.sweep(age)
            log.info("swept", blobs=swept)
        except MeshError as error:
            log.warning("sweep failed", reason=error.name)
        await asyncio.sleep(SWEEP_SECONDS)


def spec(settings: Settings | None = None) -> ServerSpec:
    """Return what makes the asset server."""
    return ServerSpec(
        name="assets",
        settings=settings or Settings(),
        services=[assets_pb2.DESCRIPTOR.services_by_name["AssetService"]],
        build=build,
        register=assets_pb2_grpc.add_AssetServiceServicer_to_server,
    )


def _media_invalid(refusal: UploadRefusedError) -> MeshError:
    return MeshError(errors_pb2.ERROR_REASON_MEDIA_INVALID, f"data: {refusal}", field="data")


def _field_invalid(field: str, rule: Exception) -> MeshError:
    return MeshError(errors_pb2.ERROR_REASON_FIELD_INVALID, f"{field}: {rule}", field=field)
