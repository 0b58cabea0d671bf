"""The mesh's store of bytes, addressed by their SHA-256: a folder on one machine, a bucket in a cluster."""

import asyncio
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from scrollintel.visual.v1 import errors_pb2
from scrollintel.visual.v1.media_pb2 import MediaRef
from services.runtime.errors import DEFAULT_RETRY_SECONDS, MeshError
from services.runtime.threads import in_thread

SCHEME = "blob:"
FRESH = timedelta(hours=1)
BLOB_PATH = re.compile("[0-9a-f]{2}/([0-9a-f]{64})")

log = structlog.get_logger()


@dataclass(frozen=True)
class BlobStore:
    """Stores and reads blobs; everything in it is immutable, so storing the same bytes twice is one blob.

    Every method raises MeshError DEPENDENCY_UNAVAILABLE when the store cannot be reached or is full. The store's
    blocking calls run in threads: its own asynchronous ones (obstore 0.12.1) abort the process now and then when it
    ends soon after one, 4 of 12 times when tried.
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
        """Store bytes and return their reference; sizes are in pixels and stand in the reference as given.

        Bytes that lie there already are written again when they are older than `FRESH`, so that whoever clears away
        old ones that nobody recorded does not take these from under the caller.
        """

        def work() -> str:
            digest = hashlib.sha256(data).hexdigest()
            written = self._written(digest)
            if written is None or datetime.now(UTC) - written > FRESH:
                with _asking():
                    obstore.put(self.store, _path(digest), data)
            return digest

        digest = await asyncio.to_thread(work)
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

        def work() -> bytes:
            with _asking(digest):
                data = bytes(obstore.get(self.store, _path(digest)).bytes())
            if hashlib.sha256(data).hexdigest() != digest:
                message = f"stored bytes of {digest[:12]} are damaged"
                raise MeshError(errors_pb2.ERROR_REASON_MEDIA_INVALID, message)
            return data

        return await in_thread(work)

    async def get_range(self, sha256: str, start: int, length: int) -> bytes:
        """Return `length` bytes from `start`; raises MeshError NOT_FOUND. The caller keeps within the size."""

        def work() -> bytes:
            with _asking(sha256):
                return bytes(obstore.get_range(self.store, _path(sha256), start=start, length=length))

        return await asyncio.to_thread(work)

    async def size(self, sha256: str) -> int:
        """Return a blob's size in bytes; raises MeshError NOT_FOUND."""

        def work() -> int:
            with _asking(sha256):
                return obstore.head(self.store, _path(sha256))["size"]

        return await asyncio.to_thread(work)

    async def exists(self, sha256: str) -> bool:
        """Return whether a blob is stored."""
        return await asyncio.to_thread(self._written, sha256) is not None

    async def delete(self, sha256: str) -> None:
        """Delete a blob; one that is not there is no error."""

        def work() -> None:
            with suppress(FileNotFoundError), _asking():
                obstore.delete(self.store, _path(sha256))

        await asyncio.to_thread(work)

    async def is_older(self, sha256: str, moment: datetime) -> bool:
        """Return whether a blob is stored and was last written before `moment`."""
        written = await asyncio.to_thread(self._written, sha256)
        return written is not None and written < moment

    async def older(self, moment: datetime) -> list[str]:
        """Return the digests of all blobs last written before `moment`; what is no blob of ours is passed over."""

        def work() -> list[str]:
            with _asking():
                pages = obstore.list(self.store)
                return [
                    found[1]
                    for page in pages
                    for meta in page
                    if meta["last_modified"] < moment and (found := BLOB_PATH.fullmatch(meta["path"]))
                ]

        return await asyncio.to_thread(work)

    def _written(self, sha256: str) -> datetime | None:
        with suppress(FileNotFoundError), _asking():
            return obstore.head(self.store, _path(sha256))["last_modified"]
        return None


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
