"""Calls about stored pictures."""

from pathlib import Path

from scrollintel.visual import uploads
from scrollintel.visual.assets import Asset
from scrollintel.visual.calls.connection import READ_SECONDS, Connection
from scrollintel.visual.v1 import assets_pb2


class AssetCalls(Connection):
    """Records, uploads and downloads."""

    async def asset(self, asset_id: str) -> Asset:
        """Return an asset's record."""
        request = assets_pb2.GetAssetRequest(id=asset_id)
        with self._errors():
            answer = await self._assets.GetAsset(request, timeout=READ_SECONDS, metadata=self._metadata)
        return Asset.load(answer.asset, self.download)

    async def upload(self, source: str | Path | bytes, *, metadata: dict[str, str] | None = None) -> Asset:
        """Store a PNG, JPEG or WebP picture of up to 64 MiB and 67 megapixels, by its file's path or its bytes.

        Raises:
            MediaError: it is of another kind, or does not decode.
            OSError: the file cannot be read.
        """
        parts = (await uploads.read(source)).parts(metadata)
        with self._errors():
            answer = await self._assets.UploadAsset(parts, timeout=self._timeout, metadata=self._metadata)
        return Asset.load(answer.asset, self.download)

    async def download(self, asset_id: str) -> bytes:
        """Return an asset's bytes as stored; `Asset.read` checks them as well."""
        data = bytearray()
        request = assets_pb2.DownloadAssetRequest(id=asset_id)
        with self._errors():
            async for part in self._assets.DownloadAsset(
                request, timeout=self._timeout, metadata=self._metadata
            ):
                data += part.data
        return bytes(data)
