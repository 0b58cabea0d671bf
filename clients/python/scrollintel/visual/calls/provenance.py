"""Calls that ask where a picture comes from."""

import contextlib
from pathlib import Path

import grpc

from scrollintel.visual import requests
from scrollintel.visual.assets import Asset, Media
from scrollintel.visual.calls.assets import AssetCalls
from scrollintel.visual.calls.connection import READ_SECONDS
from scrollintel.visual.provenance import Provenance
from scrollintel.visual.v1 import assets_pb2, safety_pb2


class ProvenanceCalls(AssetCalls):
    """Verification of manifests and watermarks."""

    async def verify(self, source: Media | Asset | Path | str | bytes) -> Provenance:
        """Return where a PNG, JPEG or WebP picture comes from, as its signed manifest and its watermark say.

        A file that is not stored yet is sent for as long as that takes, and not kept.

        Raises:
            MediaError: the file is of another kind, or does not decode.
            NotFoundError: the bytes are no longer stored.
            OSError: the file cannot be read.
        """
        if isinstance(source, Media | Asset):
            return await self._verify(requests.media_of(source))
        sent = await self.upload(source)
        try:
            return await self._verify(sent.media)
        finally:
            request = assets_pb2.DeleteAssetRequest(id=sent.id)
            with contextlib.suppress(grpc.aio.AioRpcError):
                await self._assets.DeleteAsset(request, timeout=READ_SECONDS, metadata=self._metadata)

    async def _verify(self, media: Media) -> Provenance:
        request = safety_pb2.VerifyProvenanceRequest(media=media.write())
        with self._errors():
            answer = await self._safety.VerifyProvenance(
                request, timeout=self._timeout, metadata=self._metadata
            )
        return Provenance.read(answer)
