"""Frames of a video on their way to the mesh: out of arrays, or of a file."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from scrollintel.visual.exceptions import MediaError
from scrollintel.visual.requests import broken
from scrollintel.visual.v1 import media_pb2

CHUNK_BYTES = 1 << 20
FORMATS = {3: media_pb2.PIXEL_FORMAT_RGB24, 4: media_pb2.PIXEL_FORMAT_RGBA32}

Video: TypeAlias = str | Path | Iterable[Any] | AsyncIterable[Any]
"""A video file's path, or its frames: arrays of unsigned bytes, [height, width, 3] RGB or [height, width, 4] RGBA."""


@dataclass(frozen=True)
class Frame:
    """The pixels of one frame, row by row."""

    index: int
    width: int
    height: int
    pixel_format: media_pb2.PixelFormat.ValueType
    data: bytes

    def chunks(self) -> Iterator[media_pb2.FrameChunk]:
        """Yield the frame in pieces that the wire takes."""
        for start in range(0, len(self.data), CHUNK_BYTES):
            yield media_pb2.FrameChunk(
                index=self.index,
                width=self.width,
                height=self.height,
                pixel_format=self.pixel_format,
                codec=media_pb2.FRAME_CODEC_RAW,
                offset=start,
                last=start + CHUNK_BYTES >= len(self.data),
                data=self.data[start : start + CHUNK_BYTES],
            )


def read(array: Any, index: int) -> Frame:
    """Return an array as a frame: anything with the buffer protocol, such as NumPy's.

    Raises:
        PromptError: it is no [height, width, 3 or 4] array of unsigned bytes.
    """
    try:
        view = memoryview(array)
    except TypeError:
        view = memoryview(b"")
    shape = view.shape or ()
    if view.format != "B" or len(shape) != 3 or shape[2] not in FORMATS or 0 in shape:
        rule = "must be an array of unsigned bytes, [height, width, 3] RGB or [height, width, 4] RGBA"
        raise broken(f"frames[{index}]", "frame", rule)
    height, width, channels = shape
    return Frame(index, width, height, FORMATS[channels], view.tobytes())


async def stream(video: Video) -> AsyncGenerator[media_pb2.FrameChunk, None]:
    """Yield a video's chunks; one frame is in memory at a time, and made in a thread.

    Raises:
        MediaError: the file does not decode, or nothing is installed that decodes it.
        OSError: the file cannot be read.
        PromptError: a frame is none.
    """
    arrays = _decoded(Path(video)) if isinstance(video, str | Path) else video
    source = arrays if isinstance(arrays, AsyncIterable) else _one_by_one(arrays)
    index = 0
    async for array in source:
        frame = await asyncio.to_thread(read, array, index)
        for chunk in frame.chunks():
            yield chunk
        index += 1


async def _one_by_one(arrays: Iterable[Any]) -> AsyncIterator[Any]:
    """Take each next one in a thread: to make it may take its time."""
    iterator = iter(arrays)
    end = object()
    try:
        while (array := await asyncio.to_thread(next, iterator, end)) is not end:
            yield array
    finally:
        if isinstance(iterator, Generator):  # one that was left before its end holds what it reads from
            await asyncio.to_thread(iterator.close)


def _decoded(path: Path) -> Iterator[Any]:
    """Yield a video file's frames as RGB arrays."""
    try:
        import av  # an extra: who sends arrays needs none
    except ImportError:
        raise _unreadable(
            "to read a video file needs PyAV: pip install 'visual-mesh-client[video]', or send its frames"
        ) from None
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="rgb24")
    except OSError:
        raise
    except (av.FFmpegError, IndexError) as error:  # IndexError: it has no picture
        raise _unreadable(f"{path} does not decode as a video") from error


def _unreadable(why: str) -> MediaError:
    return MediaError(why, reason="MEDIA_INVALID", code="INVALID_ARGUMENT", field="frame")
