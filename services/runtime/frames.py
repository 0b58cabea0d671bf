"""Frames on their way in: chunks put together and decoded, with limits checked before anything is held."""

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from scrollintel.visual.v1 import errors_pb2, media_pb2
from scrollintel.visual.v1.media_pb2 import FrameChunk
from services.runtime import images
from services.runtime.errors import MeshError
from services.runtime.threads import in_thread

Pixels = NDArray[np.uint8]

HEAD_BYTES = 64 * 1024  # what a coded frame may have beyond its raw size


@dataclass(frozen=True)
class Limits:
    """What one stream may bring."""

    frames: int
    pixels: int
    """Of one frame."""


@dataclass(frozen=True)
class Layout:
    """What the chunks of a frame say of it; chunks of one stream agree in everything but what grows."""

    width: int
    height: int
    pixel_format: int
    codec: int

    @classmethod
    def of(cls, chunk: FrameChunk) -> "Layout":
        """Read it from a chunk."""
        return cls(chunk.width, chunk.height, chunk.pixel_format, chunk.codec)

    @property
    def raw(self) -> bool:
        """Whether the bytes are the pixels themselves."""
        return self.codec == media_pb2.FRAME_CODEC_RAW

    @property
    def most_bytes(self) -> int:
        """The bytes of a raw frame, and what a coded one may have at most."""
        if self.raw:
            return int(self.width * self.height * FORMATS[self.pixel_format].bytes_per_pixel)
        return self.width * self.height * 3 + HEAD_BYTES


@dataclass
class Frames:
    """Puts the chunks of one stream together; holds one frame, and forgets it when it is whole.

    Raises MeshError FIELD_INVALID, with the field named from `frame` on, as soon as a chunk breaks a rule.
    """

    limits: Limits
    count: int = 0
    """Whole frames so far."""
    _layout: Layout | None = None
    _index: int = -1
    _bytes: bytearray = field(default_factory=bytearray)

    async def add(self, chunk: FrameChunk) -> Pixels | None:
        """Take the next chunk; return [H, W, 3] RGB when it completes a frame.

        Raises MeshError MEDIA_INVALID, too, when the frame does not decode.
        """
        layout = self._checked(chunk)
        self._bytes += chunk.data
        if not chunk.last:
            return None
        data, self._bytes = bytes(self._bytes), bytearray()
        self.count += 1
        if not layout.raw:
            return await _decoded(data, layout)
        if len(data) != layout.most_bytes:
            raise _invalid(
                "data", f"a frame of this size has {layout.most_bytes} bytes, and {len(data)} came"
            )
        return await in_thread(FORMATS[layout.pixel_format].read, data, layout.height, layout.width)

    def end(self) -> None:
        """Say that no more comes. Raises MeshError when nothing came, or a frame is left without its end."""
        if self._bytes:
            raise _invalid("last", f"frame {self._index} did not come to its end")
        if not self.count:
            raise _invalid("", "send at least one")

    def _checked(self, chunk: FrameChunk) -> Layout:
        layout = Layout.of(chunk)
        if self._layout is None:
            self._layout = _possible(layout, self.limits)
        if layout != self._layout:
            raise _invalid("width", "size, pixel format and codec are those of the first frame")
        if chunk.WhichOneof("payload") != "data":
            raise _invalid("shared_memory", "is not taken here; send the bytes as data")
        if not (chunk.data or chunk.last):  # a stream of these would have no end, and no frame
            raise _invalid("data", "must not be empty before the last chunk of a frame")
        if self._bytes:
            if chunk.index != self._index:
                raise _invalid("index", f"frame {self._index} has not come to its end")
        elif chunk.index <= self._index:
            raise _invalid("index", f"must rise: {chunk.index} came after {self._index}")
        elif self.count == self.limits.frames:
            raise _invalid("index", f"more than {self.limits.frames} frames; send a shorter piece")
        if chunk.offset != len(self._bytes):
            raise _invalid("offset", f"must be {len(self._bytes)}, where the last chunk ended")
        if len(self._bytes) + len(chunk.data) > layout.most_bytes:
            raise _invalid("data", f"a frame of this size has {layout.most_bytes} bytes at most")
        self._index = chunk.index
        return layout


async def _decoded(data: bytes, layout: Layout) -> Pixels:
    _, width, height = await in_thread(images.media_type_of, data)
    if (width, height) != (layout.width, layout.height):
        raise _invalid("data", f"is {width} × {height}, announced as {layout.width} × {layout.height}")
    return await images.decode(data)


def _possible(layout: Layout, limits: Limits) -> Layout:
    if layout.width * layout.height > limits.pixels:
        raise _invalid("width", f"a frame may have {limits.pixels:,} pixels; send smaller ones")
    if layout.raw and FORMATS[layout.pixel_format].halved and (layout.width % 2 or layout.height % 2):
        raise _invalid("width", "frames of halved colour have even sides")
    return layout


def _invalid(name: str, rule: str) -> MeshError:
    path = f"frame.{name}" if name else "frame"
    return MeshError(errors_pb2.ERROR_REASON_FIELD_INVALID, f"{path}: {rule}", field=path)


@dataclass(frozen=True)
class Format:
    """How raw pixels lie."""

    bytes_per_pixel: float
    read: Callable[[bytes, int, int], Pixels]
    """Turns a frame's bytes, height and width into [H, W, 3] RGB."""
    halved: bool = False
    """Whether colour has half the height and width."""


def _rgb(data: bytes, height: int, width: int) -> Pixels:
    return np.frombuffer(data, np.uint8).reshape(height, width, 3)


def _rgba(data: bytes, height: int, width: int) -> Pixels:
    pixels = np.frombuffer(data, np.uint8).reshape(height, width, 4)
    alpha = pixels[..., 3:].astype(np.uint16)
    return np.asarray((pixels[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255, np.uint8)


def _yuv(data: bytes, height: int, width: int) -> Pixels:
    planes = np.frombuffer(data, np.uint8).reshape(height * 3 // 2, width)
    return np.asarray(cv2.cvtColor(planes, cv2.COLOR_YUV2RGB_I420), np.uint8)


def _yuv_10(data: bytes, height: int, width: int) -> Pixels:
    levels = np.frombuffer(data, "<u2")
    return _yuv((np.minimum(levels, 1023) >> 2).astype(np.uint8).tobytes(), height, width)


FORMATS: dict[int, Format] = {
    media_pb2.PIXEL_FORMAT_RGB24: Format(3, _rgb),
    media_pb2.PIXEL_FORMAT_RGBA32: Format(4, _rgba),
    media_pb2.PIXEL_FORMAT_YUV420P: Format(1.5, _yuv, halved=True),
    media_pb2.PIXEL_FORMAT_YUV420P10LE: Format(3, _yuv_10, halved=True),
}
