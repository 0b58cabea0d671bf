"""Checks what a provider made and stores it as it came: providers' words for it are not believed."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from router.backends.protocol import Stored
from router.backends.provider import Media
from router.media_types import media_type_of
from router.mp4 import BrokenError, Shape, measure
from scrollintel.visual.v1.media_pb2 import MediaRef
from services.runtime import images
from services.runtime.blobs import BlobStore
from services.runtime.errors import MeshError

VIDEO = "video/"
MP4 = "video/mp4"


class RubbishError(Exception):
    """What the provider made is nothing that can be shown."""


async def store(media: Sequence[Media], seeds: Sequence[int], blobs: BlobStore) -> tuple[Stored, ...]:
    """Store pictures and videos, one for each of `seeds`, and return them by index.

    Those beyond the seeds and those that are damaged are left out; fewer are better than none. Raises RubbishError when
    there is none, MeshError DEPENDENCY_UNAVAILABLE when the store cannot be reached.
    """
    wanted = {each.index: each for each in media if 0 <= each.index < len(seeds)}
    made = []
    for index in sorted(wanted):
        with suppress(RubbishError):
            made.append(Stored(index, seeds[index], await _put(wanted[index].data, blobs)))
    if not made:
        raise RubbishError
    return tuple(made)


async def refresh(stored: Stored, blobs: BlobStore) -> Stored:
    """Return something stored before, made young: so that it is not cleared away before an asset names it.

    Raises MeshError: NOT_FOUND when it was cleared away, MEDIA_INVALID when it is damaged, DEPENDENCY_UNAVAILABLE.
    """
    media = stored.media
    await blobs.put(await blobs.get(media), media_type=media.media_type)
    return stored


async def _put(data: bytes, blobs: BlobStore) -> MediaRef:
    media_type, shape = await _checked(data)
    return await blobs.put(
        data, media_type=media_type, width=shape.width, height=shape.height, frames=shape.frames
    )


async def _checked(data: bytes) -> tuple[str, Shape]:
    """Return media type and shape: of a picture that decodes to its end, of an MP4 whose boxes are whole."""
    found = media_type_of(data)
    try:
        if found == MP4:
            return found, await asyncio.to_thread(measure, data)
        if found.startswith(VIDEO):
            return found, Shape()
        found, width, height = await asyncio.to_thread(images.media_type_of, data)
        await images.decode(data)
    except (BrokenError, MeshError):
        raise RubbishError from None
    return found, Shape(width, height, frames=1)
