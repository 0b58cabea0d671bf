"""Reading TensorFlow.js graph models: the graph, and the shards it names, which hold its constants."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from services.models.tfjs_files import read_document, read_shard

DTYPES: dict[str, type[np.generic]] = {"float32": np.float32, "int32": np.int32, "bool": np.bool_}

Array: TypeAlias = NDArray[Any]
Attribute: TypeAlias = bool | int | float | str | tuple[int, ...] | tuple[str, ...] | None


class TfjsError(Exception):
    """The files are not what they should be, or use something this reader or its converter does not know."""


@dataclass(frozen=True)
class Node:
    """One operation, with the names of the values it takes; its own name is that of the value it makes.

    `attributes` holds numbers, texts (data types by their protobuf names, such as DT_INT32), and lists of integers or texts.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    attributes: dict[str, Attribute]

    def integers(self, key: str) -> tuple[int, ...]:
        """A list attribute; empty when absent. Raises TfjsError when it is something else."""
        value = self.attributes.get(key) or ()
        if not isinstance(value, tuple):
            raise TfjsError(f"{self.name} ({self.op}): attribute {key} is {value!r}, a list was expected")
        return tuple(map(int, value))

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; empty when absent."""
        value = self.attributes.get(key) or ()
        return tuple(map(str, value)) if isinstance(value, tuple) else (str(value),)


@dataclass(frozen=True)
class TfjsGraph:
    """A graph's operations in execution order, its constants, and the names of its inputs and outputs."""

    nodes: tuple[Node, ...]
    constants: dict[str, Array]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read_tfjs(model: Path) -> TfjsGraph:
    """Read a graph and the shards beside it. Raises TfjsError."""
    try:
        document = read_document(model)
        topology = document["modelTopology"]["node"]
        signature = document.get("signature") or document["userDefinedMetadata"]["signature"]
        manifest = document["weightsManifest"]
        nodes = {node["name"]: _read_node(node) for node in topology if node["op"] != "Const"}
        outputs = tuple(output["name"].split(":")[0] for output in signature["outputs"].values())
        inputs = tuple(value["name"].split(":")[0] for value in signature["inputs"].values())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TfjsError(f"{model.name}: not a TensorFlow.js graph model: {error!r}") from error
    constants = {name: value for group in manifest for name, value in _read_weights(model.parent, group)}
    return TfjsGraph(tuple(_in_order(nodes, constants, outputs)), constants, inputs, outputs)


def _read_node(node: dict[str, Any]) -> Node:
    # A name after ^ is only to be run before, and nothing here has side effects.
    inputs = tuple(name.removesuffix(":0") for name in node.get("input", ()) if not name.startswith("^"))
    attributes = {key: _read_attribute(value) for key, value in node.get("attr", {}).items()}
    return Node(node["op"], node["name"], inputs, attributes)


def _read_attribute(value: dict[str, Any]) -> Attribute:
    """Protobuf's JSON writes 64-bit integers as text and bytes in base64."""
    match value:
        case {"b": bool() as flag}:
            return flag
        case {"i": number}:
            return int(number)
        case {"f": number}:
            return float(number)
        case {"s": text}:
            return base64.b64decode(text).decode()
        case {"type": name}:
            return str(name)
        case {"list": {"i": numbers}}:
            return tuple(map(int, numbers))
        case {"list": {"s": texts}}:
            return tuple(base64.b64decode(text).decode() for text in texts)
    return None


def _read_weights(directory: Path, group: dict[str, Any]) -> Iterator[tuple[str, Array]]:
    try:
        data = b"".join(read_shard(directory / Path(path).name) for path in group["paths"])
    except OSError as error:
        raise TfjsError(f"{error.filename}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise TfjsError(f"a shard cannot be read: {error}") from error
    position = 0
    for weight in group["weights"]:
        name, shape, codes = weight["name"], weight["shape"], weight.get("quantization")
        if weight["dtype"] not in DTYPES or (codes and codes["dtype"] != "uint8"):
            raise TfjsError(
                f"{name}: only plain {', '.join(DTYPES)} constants and 8-bit codes are read, not {weight}"
            )
        dtype = np.dtype(np.uint8 if codes else DTYPES[weight["dtype"]])
        count = int(np.prod(shape, dtype=np.int64))
        if position + count * dtype.itemsize > len(data):
            raise TfjsError(f"{name}: the shards end at byte {len(data)}, before this constant does")
        stored = np.frombuffer(data, dtype, count, position).reshape(shape)
        yield name, (stored * codes["scale"] + codes["min"]).astype(np.float32) if codes else stored
        position += count * dtype.itemsize
    if position != len(data):
        raise TfjsError(f"{len(data) - position} bytes are left over after the last constant")


def _in_order(
    nodes: dict[str, Node], constants: dict[str, Array], outputs: tuple[str, ...]
) -> Iterator[Node]:
    """The nodes that the outputs need, each after those it takes from."""
    done, opened, waiting = set(constants), set[str](), list(reversed(outputs))
    while waiting:
        name = waiting[-1]
        if name not in nodes and name not in done:
            raise TfjsError(f"{name}: is used, and neither an operation nor a constant of that name is there")
        missing = [] if name in done else [value for value in nodes[name].inputs if value not in done]
        if missing:
            if name in opened:  # all that it takes was put above it, and some of that takes it again
                raise TfjsError(f"{name}: takes part in a cycle")
            opened.add(name)
            waiting += missing
            continue
        waiting.pop()
        if name not in done:
            done.add(name)
            yield nodes[name]
