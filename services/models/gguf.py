"""GGUF, the file of llama.cpp: its metadata and its tensors, read without llama.cpp.

Of its many number formats those are read that this catalogue's files have: F32, Q8_0 and Q4_1, both in blocks of 32.
The layout is https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

MAGIC = b"GGUF"
VERSION = 3
ALIGNMENT = 32  # of the tensors, where the metadata does not say
BLOCK = 32  # numbers that share a scale
STRING, ARRAY = 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

Array: TypeAlias = NDArray[np.float32]


class GgufError(Exception):
    """The file is not a GGUF file that can be read here."""


@dataclass(frozen=True)
class Blocks:
    """A quantised matrix [N, K]: K in blocks of 32, each number `q * scale + offset` of its block.

    `q` is UINT8 [N, K / 32, 32]; `scale` and `offset` are FP32 [N, K / 32]; `bits` is how many of each `q` count.
    """

    q: NDArray[np.uint8]
    scale: Array
    offset: Array
    bits: int

    def dequantised(self) -> Array:
        """Return the matrix as FP32 [N, K]."""
        values = self.q.astype(np.float32) * self.scale[..., None] + self.offset[..., None]
        return np.asarray(values.reshape(len(values), -1), np.float32)


@dataclass(frozen=True)
class Gguf:
    """What a file holds: metadata by key, FP32 vectors and quantised matrices by name."""

    metadata: Mapping[str, Any]
    vectors: Mapping[str, Array]
    matrices: Mapping[str, Blocks]


def read(path: Path) -> Gguf:
    """Read a whole file. Raises GgufError."""
    reader = _Reader(path.read_bytes())
    try:
        return reader.file()
    except (struct.error, KeyError, IndexError, ValueError) as error:
        raise GgufError(f"{path.name}: not a GGUF file that can be read: {error}") from error


class _Reader:
    """Reads from the front; every method moves on by what it read."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def file(self) -> Gguf:
        magic, version, tensors, keys = self._take("4sIQQ")
        if magic != MAGIC or version != VERSION:
            raise ValueError(f"begins with {magic!r}, version {version}; wanted {MAGIC!r}, version {VERSION}")
        metadata = {self._string(): self._value(self._one("I")) for _ in range(keys)}
        listed = [self._tensor() for _ in range(tensors)]
        step = int(metadata.get("general.alignment", ALIGNMENT))
        start = -(-self._at // step) * step
        vectors, matrices = {}, {}
        for name, shape, kind, offset in listed:
            if kind == F32:
                count = int(np.prod(shape))
                vectors[name] = np.frombuffer(self._data, "<f4", count, start + offset).reshape(shape)
            elif kind in QUANTISED:
                matrices[name] = QUANTISED[kind](self._data, start + offset, shape)
            else:
                raise ValueError(f"{name} is of type {kind}; F32, Q4_1 and Q8_0 are read")
        return Gguf(metadata, vectors, matrices)

    def _tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        """Return a tensor's name, its shape (slowest axis first), type and offset."""
        name, axes = self._string(), self._one("I")
        shape = tuple(reversed(self._take(f"{axes}Q")))
        return name, shape, self._one("I"), self._one("Q")

    def _value(self, kind: int) -> Any:
        if kind == STRING:
            return self._string()
        if kind == ARRAY:
            of, length = self._take("IQ")
            return [self._value(of) for _ in range(length)]
        return self._one(SCALARS[kind])

    def _string(self) -> str:
        length = self._one("Q")
        found = self._data[self._at : self._at + length]
        if len(found) < length:
            raise ValueError("it ends inside a text")
        self._at += length
        return found.decode("utf-8")

    def _one(self, form: str) -> Any:
        return self._take(form)[0]

    def _take(self, form: str) -> tuple[Any, ...]:
        found = struct.unpack_from(f"<{form}", self._data, self._at)
        self._at += struct.calcsize(f"<{form}")
        return found


def _records(data: bytes, start: int, shape: tuple[int, ...], layout: np.dtype[Any]) -> NDArray[Any]:
    """Return a matrix's blocks as records, [N, K / 32]."""
    rows, columns = shape
    if columns % BLOCK:
        raise ValueError(f"rows of {columns} numbers are not whole blocks of {BLOCK}")
    count = rows * columns // BLOCK
    return np.frombuffer(data, layout, count, start).reshape(rows, columns // BLOCK)


def _q4_1(data: bytes, start: int, shape: tuple[int, ...]) -> Blocks:
    """Read blocks of (scale, offset, 32 numbers of 4 bits): byte i holds number i low and number i + 16 high."""
    layout = np.dtype([("scale", "<f2"), ("offset", "<f2"), ("q", "u1", BLOCK // 2)])
    found = _records(data, start, shape, layout)
    q = np.concatenate([found["q"] & 0x0F, found["q"] >> 4], axis=-1)
    return Blocks(q, found["scale"].astype(np.float32), found["offset"].astype(np.float32), bits=4)


def _q8_0(data: bytes, start: int, shape: tuple[int, ...]) -> Blocks:
    """Read blocks of (scale, 32 signed bytes), which are told here as unsigned ones above 128."""
    layout = np.dtype([("scale", "<f2"), ("q", "i1", BLOCK)])
    found = _records(data, start, shape, layout)
    scale = found["scale"].astype(np.float32)
    return Blocks((found["q"].astype(np.int16) + 128).astype(np.uint8), scale, -128 * scale, bits=8)


F32 = 0
QUANTISED = {3: _q4_1, 8: _q8_0}
