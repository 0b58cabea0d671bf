"""Reading ncnn models: a text `.param` (the graph) and a binary `.bin` (the weights, in layer order)."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MAGIC = "7767517"
FLOAT16_TAG = 0x01306B47
ARRAY_KEY_BASE = -23300

Array = NDArray[np.float32]


class NcnnError(Exception):
    """The files are not what they should be, or use something this reader does not know."""


@dataclass(frozen=True)
class Layer:
    """One line of the `.param` file with its weights.

    `arguments` are numbered as in ncnn's own layer documentation; arrays keep their number.
    `weight` is [out, in, k, k] for a convolution, [channels] for a PReLU; `bias` is [out].
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    arguments: dict[int, float | tuple[float, ...]]
    weight: Array | None = None
    bias: Array | None = None

    def number(self, key: int, default: float = 0) -> float:
        """A scalar argument. Raises NcnnError when the file gives an array there."""
        value = self.arguments.get(key, default)
        if isinstance(value, tuple):
            raise NcnnError(f"{self.name} ({self.kind}): argument {key} is an array, a number was expected")
        return value

    def numbers(self, key: int) -> tuple[float, ...]:
        """An array argument; empty when absent. Raises NcnnError when the file gives a number there."""
        value = self.arguments.get(key, ())
        if not isinstance(value, tuple):
            raise NcnnError(f"{self.name} ({self.kind}): argument {key} is a number, an array was expected")
        return value


class _Weights:
    """A cursor over the `.bin` file."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def take(
        self, count: int, dtype: type[np.float32] | type[np.float16] | type[np.uint32]
    ) -> NDArray[np.generic]:
        size = count * np.dtype(dtype).itemsize
        if self.position + size > len(self.data):
            raise NcnnError(
                f"the .bin file ends at byte {len(self.data)}, {size} bytes at {self.position} are missing"
            )
        values = np.frombuffer(self.data, dtype, count, self.position)
        self.position += (size + 3) // 4 * 4
        return values

    def take_floats(self, count: int) -> Array:
        return self.take(count, np.float32).astype(np.float32)

    def take_tagged(self, count: int) -> Array:
        """Weights preceded by a word that tells their storage type."""
        tag = int(self.take(1, np.uint32)[0])
        if tag == FLOAT16_TAG:
            return self.take(count, np.float16).astype(np.float32)
        if tag == 0:
            return self.take_floats(count)
        raise NcnnError(f"weight storage tag {tag:#010x} is neither fp16 nor fp32")


def read_ncnn(param: Path, binary: Path) -> list[Layer]:
    """Read a model's layers in file order, which is execution order. Raises NcnnError."""
    magic, _, *lines = param.read_text(encoding="utf-8").splitlines()
    if magic.strip() != MAGIC:
        raise NcnnError(f"{param.name}: begins with {magic!r}, an ncnn text model begins with {MAGIC}")
    weights = _Weights(binary.read_bytes())
    layers = [_with_weights(_parse_line(line), weights) for line in lines if line.strip()]
    if weights.position != len(weights.data):
        raise NcnnError(
            f"{binary.name}: {len(weights.data) - weights.position} bytes are left over after the last layer"
        )
    return layers


def _parse_line(line: str) -> Layer:
    kind, name, input_count, output_count, *rest = line.split()
    ends = int(input_count), int(input_count) + int(output_count)
    arguments: dict[int, float | tuple[float, ...]] = {}
    for pair in rest[ends[1] :]:
        key, text = pair.split("=")
        if (
            int(key) <= ARRAY_KEY_BASE
        ):  # an array: its own number is hidden in the key, its length comes first
            arguments[ARRAY_KEY_BASE - int(key)] = tuple(map(float, text.split(",")[1:]))
        else:
            arguments[int(key)] = float(text)
    return Layer(kind, name, tuple(rest[: ends[0]]), tuple(rest[ends[0] : ends[1]]), arguments)


def _with_weights(layer: Layer, weights: _Weights) -> Layer:
    weight = bias = None
    if layer.kind == "Convolution":
        channels, kernel = int(layer.number(0)), int(layer.number(1))
        weight = weights.take_tagged(int(layer.number(6))).reshape(channels, -1, kernel, kernel)
        bias = weights.take_floats(channels) if layer.number(5) else None
    elif layer.kind == "PReLU":
        weight = weights.take_floats(int(layer.number(0)))
    return replace(layer, weight=weight, bias=bias)
