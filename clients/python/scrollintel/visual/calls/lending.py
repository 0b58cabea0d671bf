"""Media that the mesh looks at and does not keep."""

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from scrollintel.visual import requests
from scrollintel.visual.assets import Asset, Media
from scrollintel.visual.calls.assets import AssetCalls
from scrollintel.visual.calls.connection import READ_SECONDS
from scrollintel.visual.v1 import assets_pb2


class LendingCalls(AssetCalls):
    """Sends files for the time of one call."""

    @asynccontextmanager
    async def _lent(self, source: Media | Asset | Path | str | bytes) -> AsyncIterator[Media]:
        """Give stored media as it is, and anything else stored for as long as the block takes; raises as `upload`."""
        if isinstance(source, Media | Asset):
            yield requests.media_of(source)
            return
        sent = await self.upload(source)
        try:
            yield sent.media
        finally:
            request = assets_pb2.DeleteAssetRequest(id=sent.id)
            with contextlib.suppress(grpc.aio.AioRpcError):
                await self._assets.DeleteAsset(request, timeout=READ_SECONDS, metadata=self._metadata)
