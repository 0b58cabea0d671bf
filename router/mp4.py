"""Reads how large an MP4 is from its boxes (ISO/IEC 14496-12), and whether it is whole, without decoding it. Pure."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

HEADER = struct.Struct(">I4s")
LONG_HEADER = struct.Struct(">I4sQ")
# Where the fields lie in the boxes, after size and kind; a track header of version 1 has longer times before them.
TRACK_SIZE = {0: 76, 1: 88}
HANDLER = slice(8, 12)
SAMPLES = slice(8, 12)
MOST_BOXES = 10_000  # side by side; a fragmented film has one or two for each second


class Shape(NamedTuple):
    """Width and height in pixels, number of frames; all 0 where the file does not say."""

    width: int = 0
    height: int = 0
    frames: int = 0


class BrokenError(ValueError):
    """The bytes are no whole MP4 with a picture track."""


def measure(data: bytes) -> Shape:
    """Return the shape of the first picture track. Raises BrokenError, also for a file that was cut off."""
    file = memoryview(data)
    top = list(_boxes(file))
    if not top or top[0][0] != b"ftyp":
        raise BrokenError
    for track in _within(top, b"moov", b"trak"):
        media = list(_boxes(track))
        for handler in _within(media, b"mdia", b"hdlr"):
            if bytes(handler[HANDLER]) == b"vide":
                return _shape(media)
    raise BrokenError


def _shape(track: list[tuple[bytes, memoryview]]) -> Shape:
    header = next(_within(track, b"tkhd"), memoryview(b""))
    table = next(_within(track, b"mdia", b"minf", b"stbl", b"stsz"), memoryview(b""))
    try:
        at = TRACK_SIZE[header[0]]
        width, height = struct.unpack(">II", header[at : at + 8])  # 16.16 fixed point
        (frames,) = struct.unpack(">I", table[SAMPLES])
    except (IndexError, KeyError, struct.error):
        raise BrokenError from None
    return Shape(width >> 16, height >> 16, frames)


def _within(boxes: list[tuple[bytes, memoryview]], kind: bytes, *deeper: bytes) -> Iterator[memoryview]:
    """Yield the content of every box at a path of kinds."""
    for found, content in boxes:
        if found == kind:
            if deeper:
                yield from _within(list(_boxes(content)), *deeper)
            else:
                yield content


def _boxes(content: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield kind and content of each box, one behind the other. Raises BrokenError where they end elsewhere than it."""
    at = found = 0
    while at < len(content):
        found += 1
        if found > MOST_BOXES:
            raise BrokenError
        try:
            size, kind = HEADER.unpack_from(content, at)
            start = at + HEADER.size
            if size == 1:
                _, kind, size = LONG_HEADER.unpack_from(content, at)
                start = at + LONG_HEADER.size
        except struct.error:
            raise BrokenError from None
        end = at + size if size else len(content)  # 0: to the end
        if not start <= end <= len(content):
            raise BrokenError
        yield kind, content[start:end]
        at = end
