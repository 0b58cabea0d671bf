"""Stored pictures, and how to get their bytes."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from scrollintel.visual import wire
from scrollintel.visual.exceptions import InternalError
from scrollintel.visual.quality import Quality
from scrollintel.visual.v1 import assets_pb2, media_pb2

Download = Callable[[str], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Media:
    """Where stored media lies and what it is; the bytes themselves are fetched by `Asset.read`."""

    uri: str
    sha256: str
    media_type: str
    size_bytes: int
    width: int
    """In pixels."""
    height: int
    """In pixels."""
    frames: int
    """1 for a still image."""

    @classmethod
    def read(cls, message: media_pb2.MediaRef) -> "Media":
        """Read a reference from the wire."""
        return cls(
            uri=message.uri,
            sha256=message.sha256,
            media_type=message.media_type,
            size_bytes=message.size_bytes,
            width=message.width,
            height=message.height,
            frames=message.frames,
        )

    def write(self) -> media_pb2.MediaRef:
        """Return the reference as it goes over the wire."""
        return media_pb2.MediaRef(
            uri=self.uri,
            sha256=self.sha256,
            media_type=self.media_type,
            size_bytes=self.size_bytes,
            width=self.width,
            height=self.height,
            frames=self.frames,
        )


@dataclass(frozen=True, slots=True)
class Asset:
    """A stored result or upload."""

    id: str
    media: Media
    created_at: datetime
    generation_id: str
    """The generation that made it; empty for an upload."""
    quality: Quality
    seed: int | None
    """The seed it was drawn from; None for an upload."""
    metadata: Mapping[str, str]
    """What is known about it, such as `prompt`, `model`, `style`."""
    _download: Download = field(repr=False, compare=False)

    @classmethod
    def load(cls, message: assets_pb2.Asset, download: Download) -> "Asset":
        """Read an asset from the wire; `download` fetches the bytes of an asset by id."""
        return cls(
            id=message.id,
            media=Media.read(message.media),
            created_at=wire.moment(message.created_at),
            generation_id=message.generation_id,
            quality=Quality.read(message.quality),
            seed=message.seed if message.HasField("seed") else None,
            metadata=MappingProxyType(dict(message.metadata)),
            _download=download,
        )

    async def read(self) -> bytes:
        """Fetch the bytes and check them against the digest."""
        data = await self._download(self.id)
        if await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest()) != self.media.sha256:
            raise InternalError(
                f"asset {self.id} does not match its digest", reason="INTERNAL", code="DATA_LOSS"
            )
        return data

    async def save(self, path: str | Path) -> Path:
        """Fetch the bytes into a file, making its folder when there is none, and return the file's path."""
        data = await self.read()
        return await asyncio.to_thread(_write, Path(path), data)


def _write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
