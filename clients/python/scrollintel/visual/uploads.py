"""What is sent of a picture or a video that is to be stored."""

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scrollintel.visual.exceptions import MediaError
from scrollintel.visual.v1 import assets_pb2

CHUNK_BYTES = 1 << 20

# By where a signature stands, and what it is.
MEDIA_TYPES = {
    (0, b"\x89PNG\r\n\x1a\n"): "image/png",
    (0, b"\xff\xd8\xff"): "image/jpeg",
    (0, b"RIFF"): "image/webp",
    (4, b"ftyp"): "video/mp4",
}


@dataclass(frozen=True)
class Upload:
    """A file's bytes, and what they are."""

    data: bytes
    media_type: str
    sha256: str

    def parts(self, metadata: dict[str, str] | None) -> Iterator[assets_pb2.UploadAssetRequest]:
        """Yield the requests of one upload: what it is, then its bytes."""
        header = assets_pb2.UploadHeader(media_type=self.media_type, sha256=self.sha256, metadata=metadata)
        yield assets_pb2.UploadAssetRequest(header=header)
        for start in range(0, len(self.data), CHUNK_BYTES):
            yield assets_pb2.UploadAssetRequest(data=self.data[start : start + CHUNK_BYTES])


async def read(source: str | Path | bytes) -> Upload:
    """Read a picture or a video by its file's path or its bytes.

    Raises:
        MediaError: it is no PNG, JPEG, WebP or MP4.
        OSError: the file cannot be read.
    """
    if isinstance(source, bytes):
        name, data = "what was given", source
    else:
        name, data = str(source), await asyncio.to_thread(Path(source).read_bytes)
    kind = next((kind for (at, magic), kind in MEDIA_TYPES.items() if data.startswith(magic, at)), None)
    if kind is None:
        raise MediaError(
            f"{name} is no PNG, JPEG, WebP or MP4 file",
            reason="MEDIA_INVALID",
            code="INVALID_ARGUMENT",
            field="data",
        )
    return Upload(data, kind, await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest()))
