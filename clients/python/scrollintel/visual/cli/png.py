"""PNG files without an imaging library: text written into them, and small previews read out of them."""

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MANIFEST = b"caBX"
"""The chunk that holds a C2PA manifest."""
CHANNELS = {0: 1, 2: 3, 6: 4}
"""Samples a pixel of the colour types that are read: grey, RGB, RGBA."""
MAX_PIXELS = 1 << 20


@dataclass(frozen=True, slots=True)
class Pixels:
    """Decoded pixels, 8 bits a sample, row after row."""

    width: int
    height: int
    channels: int
    data: bytes

    def rgb(self, x: int, y: int) -> tuple[int, int, int]:
        """Return a pixel's red, green and blue."""
        start = (y * self.width + x) * self.channels
        sample = self.data[start : start + self.channels]
        return (sample[0], sample[1], sample[2]) if self.channels >= 3 else (sample[0], sample[0], sample[0])


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the type and body of every chunk.

    Raises:
        ValueError: the data is no PNG file or ends in the middle of a chunk.
    """
    if not data.startswith(SIGNATURE):
        raise ValueError("not a PNG file")
    at = len(SIGNATURE)
    while at < len(data):
        if at + 12 > len(data):
            raise ValueError("the PNG file ends in the middle of a chunk")
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        if len(body) < length:
            raise ValueError("the PNG file ends in the middle of a chunk")
        yield kind, body
        at += 12 + length


def with_text(data: bytes, entries: Mapping[str, str]) -> bytes:
    """Return the file with the entries as iTXt chunks behind its header; equal arguments give equal bytes.

    Raises:
        ValueError: the data is no PNG file, or a key is not 1 to 79 Latin-1 characters.
    """
    header, *rest = chunks(data)
    texts = [(b"iTXt", _international_text(key, value)) for key, value in entries.items()]
    return SIGNATURE + b"".join(_chunk(kind, body) for kind, body in (header, *texts, *rest))


def is_sealed(data: bytes) -> bool:
    """Return whether the file carries a C2PA manifest, which any change to the file would break.

    Raises:
        ValueError: the data is no PNG file.
    """
    return any(kind == MANIFEST for kind, _ in chunks(data))


def same_but_manifest(one: bytes, other: bytes) -> bool:
    """Return whether two PNG files differ in nothing but their manifests; False where one of them is no PNG file."""
    try:
        first, second = ([chunk for chunk in chunks(data) if chunk[0] != MANIFEST] for data in (one, other))
    except ValueError:
        return False
    return first == second


def text_of(data: bytes) -> dict[str, str]:
    """Return the uncompressed iTXt entries of a PNG file."""
    found = {}
    for kind, body in chunks(data):
        if kind == b"iTXt":
            key, rest = body.split(b"\0", 1)
            if not rest[0]:
                found[key.decode("latin-1")] = rest[2:].split(b"\0", 2)[2].decode()
    return found


def decode(data: bytes) -> Pixels:
    """Return the pixels of a small PNG file: grey, RGB or RGBA of 8 bits, not interlaced.

    Raises:
        ValueError: the file is damaged, larger than a megapixel or of another kind.
    """
    parts = list(chunks(data))
    if not parts or parts[0][0] != b"IHDR" or len(parts[0][1]) != 13:
        raise ValueError("the PNG file has no header")
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", parts[0][1])
    if depth != 8 or colour not in CHANNELS or interlace or not 0 < width * height <= MAX_PIXELS:
        raise ValueError("the PNG file is of a kind that is not read here")
    channels = CHANNELS[colour]
    size = height * (width * channels + 1)
    try:
        raw = zlib.decompressobj().decompress(b"".join(body for kind, body in parts if kind == b"IDAT"), size)
    except zlib.error as error:
        raise ValueError("the PNG file is damaged") from error
    if len(raw) != size:
        raise ValueError("the PNG file ends too early")
    return Pixels(width, height, channels, _unfilter(raw, width * channels, channels))


def _international_text(key: str, value: str) -> bytes:
    name = key.encode("latin-1")
    if not 1 <= len(name) <= 79 or b"\0" in name:
        raise ValueError(f"a PNG text key must be 1 to 79 Latin-1 characters: {key!r}")
    return name + b"\0\0\0\0\0" + value.replace("\0", "").encode()


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _unfilter(raw: bytes, stride: int, step: int) -> bytes:
    above = bytearray(stride)
    out = bytearray()
    for start in range(0, len(raw), stride + 1):
        kind, row = raw[start], bytearray(raw[start + 1 : start + 1 + stride])
        if kind not in _FILTERS:
            raise ValueError("the PNG file has an unknown filter")
        predict = _FILTERS[kind]
        if predict:
            for i in range(stride):
                left = row[i - step] if i >= step else 0
                corner = above[i - step] if i >= step else 0
                row[i] = (row[i] + predict(left, above[i], corner)) & 255
        out += row
        above = row
    return bytes(out)


def _paeth(left: int, up: int, corner: int) -> int:
    distances = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
    return (left, up, corner)[distances.index(min(distances))]


_FILTERS = {
    0: None,
    1: lambda left, up, corner: left,
    2: lambda left, up, corner: up,
    3: lambda left, up, corner: (left + up) // 2,
    4: _paeth,
}
"""The five predictors of the PNG specification, from the samples to the left, above, and above to the left."""
