"""Seals pictures and reads seals: the watermark in the pixels first, then the manifest over the finished file."""

import asyncio
import hmac
import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scrollintel.visual.cli import png
from services.safety.provenance import film, film_process
from services.safety.provenance.credentials import Credentials
from services.safety.provenance.film import Film
from services.safety.provenance.manifest import Facts, Manifests, Reading, Source
from services.safety.provenance.watermark import Found, Watermark

Pixels = NDArray[np.uint8]

# By media type: Pillow's format and how it writes, well above what the mark survives.
_LOSSY: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "image/jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
    "image/webp": ("WEBP", {"quality": 95}),
}


@dataclass(frozen=True)
class Work:
    """What a picture came from, and whose it is: two tenants' equal works are two."""

    tenant: str
    name: str


@dataclass(frozen=True)
class Sealed:
    """A sealed file, and the payload of the watermark in it."""

    data: bytes
    payload: int


class Seal:
    """A mesh's own seal. What is no coroutine blocks; use it in threads."""

    def __init__(self, credentials: Credentials) -> None:
        """Open the signer; raises ValueError where the credentials are none."""
        self._key = credentials.watermark
        self._watermark = Watermark(credentials.watermark)
        self._manifests = Manifests(credentials)

    def seal(
        self,
        picture: Pixels,
        media_type: str,
        work: Work,
        facts: Facts,
        source: Source | None = None,
        description: Mapping[str, str] | None = None,
    ) -> Sealed:
        """Return a picture, uint8 [H,W,3 or 4], as a sealed file of its media type.

        A restored picture that still bears the mark keeps it: a second one would only hide the first. `description` is
        written into PNG files alone. Equal pictures of one tenant's equal works get equal pixels.
        """
        restored = source is not None
        borne = self._borne(picture) if restored else None
        payload = self.payload(work) if borne is None else borne
        marked = self._watermark.mark(picture, payload) if borne is None else picture
        file = _encode(marked, media_type, description or {})
        return Sealed(self._manifests.sign(file, media_type, facts, source), payload)

    async def seal_video(
        self, video: bytes, work: Work, facts: Facts, source: Source | None, seconds: float
    ) -> tuple[Film, int]:
        """Return a video, marked in every frame and signed, and the mark's payload; raises as film_process does."""
        payload = self.payload(work)
        marked = await film_process.marked(video, self._key, payload, seconds)
        signed = await asyncio.to_thread(self._manifests.sign, marked.data, film.MEDIA_TYPE, facts, source)
        return replace(marked, data=signed), payload

    async def find_in_video(self, video: bytes, seconds: float) -> Found:
        """Look for the mark in a video; raises as film_process does."""
        return await film_process.found(video, self._key, seconds)

    def _borne(self, picture: Pixels) -> int | None:
        """Return the payload of a mark that the picture bears in its own size, laid in any way."""
        return self._watermark.find(_over_white(picture), scales=(1.0,), guesses=False).payload

    def read(self, data: bytes, media_type: str) -> Reading:
        """Return what a file's manifest says."""
        return self._manifests.read(data, media_type)

    def find(self, picture: Pixels) -> Found:
        """Look for the mark in a picture, uint8 [H,W,3]."""
        return self._watermark.find(picture)

    def payload(self, work: Work) -> int:
        """Return the 32 bits that stand for a tenant's work; without the key they say nothing about either."""
        tenants = hmac.digest(self._key, work.tenant.encode(), "sha256")
        return int.from_bytes(hmac.digest(tenants, work.name.encode(), "sha256")[:4], "big")


def _over_white(picture: Pixels) -> Pixels:
    if picture.shape[2] == 3:
        return picture
    alpha = picture[..., 3:].astype(np.uint16)
    return ((picture[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _encode(picture: Pixels, media_type: str, description: Mapping[str, str]) -> bytes:
    if media_type == "image/png":
        return png.with_text(_png(picture), description)
    kind, options = _LOSSY[media_type]
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, **options)
    return file.getvalue()


def _png(picture: Pixels) -> bytes:
    """Return a PNG file: OpenCV takes half of Pillow's time for one of 1024 x 1024 pixels, and as many bytes."""
    order = cv2.COLOR_RGB2BGR if picture.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    return bytes(cv2.imencode(".png", cv2.cvtColor(picture, order))[1])
