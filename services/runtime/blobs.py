"""The mesh's store of bytes, addressed by their SHA-256: a folder on one machine, a bucket in a cluster."""

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from scrollintel.visual.v1 import errors_pb2
from scrollintel.visual.v1.media_pb2 import MediaRef
from services.runtime.errors import DEFAULT_RETRY_SECONDS, MeshError

SCHEME = "blob:"

log = structlog.get_logger()


@dataclass(frozen=True)
class BlobStore:
    """Stores and reads blobs; everything in it is immutable, so storing the same bytes twice is one blob.

    Every method raises MeshError DEPENDENCY_UNAVAILABLE when the store cannot be reached or is full.
    """

    store: ObjectStore

    @classmethod
    def open(cls, url: str, home: Path) -> "BlobStore":
        """Open the store at an obstore URL, or the folder `blobs` under `home` when the URL is empty."""
        if url:
            return cls(from_url(url))
        folder = home / "blobs"
        folder.mkdir(parents=True, exist_ok=True)
        return cls(LocalStore(folder))

    async def put(
        self, data: bytes, *, media_type: str, width: int = 0, height: int = 0, frames: int = 1
    ) -> MediaRef:
        """Store bytes and return their reference; sizes are in pixels and stand in the reference as given."""
        digest = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
        if not await self.exists(digest):
            with _asking():
                await obstore.put_async(self.store, _path(digest), data)
        return MediaRef(
            uri=SCHEME + digest,
            sha256=digest,
            media_type=media_type,
            size_bytes=len(data),
            width=width,
            height=height,
            frames=frames,
        )

    async def get(self, ref: MediaRef) -> bytes:
        """Return a reference's bytes; raises MeshError NOT_FOUND, and MEDIA_INVALID when they do not match their digest."""
        digest = digest_of(ref)
        with _asking(digest):
            result = await obstore.get_async(self.store, _path(digest))
            data = bytes(await result.bytes_async())
        if await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest()) != digest:
            raise MeshError(
                errors_pb2.ERROR_REASON_MEDIA_INVALID, f"stored bytes of {digest[:12]} are damaged"
            )
        return data

    async def get_range(self, sha256: str, start: int, length: int) -> bytes:
        """Return `length` bytes from `start`; raises MeshError NOT_FOUND. The caller keeps within the size."""
        with _asking(sha256):
            return bytes(await obstore.get_range_async(self.store, _path(sha256), start=start, length=length))

    async def size(self, sha256: str) -> int:
        """Return a blob's size in bytes; raises MeshError NOT_FOUND."""
        with _asking(sha256):
            return (await obstore.head_async(self.store, _path(sha256)))["size"]

    async def exists(self, sha256: str) -> bool:
        """Return whether a blob is stored."""
        try:
            await self.size(sha256)
        except MeshError as error:
            if error.reason != errors_pb2.ERROR_REASON_NOT_FOUND:
                raise
            return False
        return True

    async def delete(self, sha256: str) -> None:
        """Delete a blob; one that is not there is no error."""
        with suppress(FileNotFoundError), _asking():
            await obstore.delete_async(self.store, _path(sha256))


def digest_of(ref: MediaRef) -> str:
    """Return the digest that a reference names; raises MeshError FIELD_INVALID when `uri` and `sha256` disagree."""
    digest = ref.uri.removeprefix(SCHEME)
    if digest != ref.sha256:
        raise MeshError(
            errors_pb2.ERROR_REASON_FIELD_INVALID, "uri and sha256 name different bytes", field="uri"
        )
    return digest


def _path(sha256: str) -> str:
    return f"{sha256[:2]}/{sha256}"


@contextmanager
def _asking(wanted: str = "") -> Iterator[None]:
    """Turn what the store says into the mesh's errors; its own words, which hold paths and keys, stay in the log."""
    try:
        yield
    except FileNotFoundError:
        if not wanted:
            raise
        raise MeshError(
            errors_pb2.ERROR_REASON_NOT_FOUND, f"no stored media has the digest {wanted[:12]}…"
        ) from None
    except (BaseError, OSError) as error:
        log.error("blob store failed", error=str(error))
        raise MeshError(
            errors_pb2.ERROR_REASON_DEPENDENCY_UNAVAILABLE,
            "the media store cannot be reached; try again shortly",
            retry_after=DEFAULT_RETRY_SECONDS,
        ) from error
