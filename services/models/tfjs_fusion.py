"""Layer normalisation and GELU found again among the single operations that a traced graph has of them.

A pattern is a tree: ("Op", input, ...) stands for an operation, a text for a value, the same text for the same value,
"_" for any. What it binds is checked against the definition before the whole is taken as one, and the graph's parity
check runs against the unfused graph.
"""

import math
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from services.models.tfjs import Array, Node

Pattern: TypeAlias = "str | tuple[Pattern, ...]"
Bound: TypeAlias = dict[str, str]

COMMUTATIVE = frozenset({"AddV2", "Mul", "Maximum"})

_MEAN: Pattern = ("Mul", ("Sum", "x", "axis"), "share")
_MEAN_OF_SQUARES: Pattern = ("Mul", ("Sum", ("Square", "x"), "axis_of_squares"), "share_of_squares")
_VARIANCE: Pattern = ("Maximum", "zero", ("Sub", _MEAN_OF_SQUARES, ("Square", _MEAN)))
_DEVIATION: Pattern = ("Rsqrt", ("AddV2", ("Reshape", _VARIANCE, "_"), "epsilon"))
_CENTRED: Pattern = ("Sub", "x", ("Reshape", _MEAN, "_"))
LAYER_NORM: Pattern = ("AddV2", ("Mul", _CENTRED, ("Mul", _DEVIATION, "scale")), "bias")

_CUBIC: Pattern = ("AddV2", "x", ("Mul", ("Mul", "cubic", "x"), ("Square", "x")))
GELU: Pattern = ("Mul", ("Mul", "half", "x"), ("AddV2", "one", ("Tanh", ("Mul", "slope", _CUBIC))))
# Hendrycks and Gimpel, Gaussian Error Linear Units, 2016: the approximation by tanh.
GELU_CONSTANTS = {"half": 0.5, "one": 1.0, "slope": math.sqrt(2 / math.pi), "cubic": 0.044715}


def match(name: str, pattern: Pattern, nodes: Mapping[str, Node], bound: Bound) -> Bound | None:
    """Bind a pattern's texts to the values that the operation `name` is made of; None where it is another."""
    if isinstance(pattern, str):
        if pattern == "_" or bound.get(pattern, name) == name:
            return bound | {pattern: name}
        return None
    node, (op, *parts) = nodes.get(name), pattern
    if node is None or node.op != op or len(node.inputs) != len(parts):
        return None
    orders = [node.inputs, node.inputs[::-1]] if op in COMMUTATIVE else [node.inputs]
    for inputs in orders:
        found: Bound | None = bound
        for value, part in zip(inputs, parts, strict=True):
            found = found if found is None else match(value, part, nodes, found)
        if found is not None:
            return found
    return None


def fuse(node: Node, nodes: Mapping[str, Node], known: Mapping[str, Array]) -> Node:
    """Return a LayerNorm (x, scale, bias; `epsilon`) or a Gelu (x) in place of the node that ends one, else the node."""
    if node.op == "AddV2":
        bound = match(node.name, LAYER_NORM, nodes, {})
        if bound and _is_layer_norm({key: known[name] for key, name in bound.items() if name in known}):
            inputs = bound["x"], bound["scale"], bound["bias"]
            return Node("LayerNorm", node.name, inputs, {"epsilon": float(known[bound["epsilon"]])})
    if node.op == "Mul":
        bound = match(node.name, GELU, nodes, {})
        values = {key: known[name] for key, name in (bound or {}).items() if name in known}
        if bound and all(
            key in values and values[key].size == 1 and np.isclose(values[key], constant, rtol=1e-6)
            for key, constant in GELU_CONSTANTS.items()
        ):
            return Node("Gelu", node.name, (bound["x"],), {})
    return node


def _is_layer_norm(values: Mapping[str, Array]) -> bool:
    """Over the last axis of four, with the mean's divisor, and all that must be known is."""
    if not {
        "axis",
        "axis_of_squares",
        "share",
        "share_of_squares",
        "zero",
        "epsilon",
        "scale",
        "bias",
    } <= set(values):
        return False
    channels = values["scale"].size
    return (
        channels == values["bias"].size == values["scale"].shape[-1]
        and all(values[key].ravel().tolist() in ([3], [-1]) for key in ("axis", "axis_of_squares"))
        and all(np.allclose(values[key] * channels, 1) for key in ("share", "share_of_squares"))
        and values["epsilon"].size == 1
        and not values["zero"].any()
    )
