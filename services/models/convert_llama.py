"""A Llama model from GGUF -> ONNX that runs on the quantised weights as they are, without torch.

Inputs of the graph: `ids` INT64 [1, T], `wanted` INT64 [W] (which of the T tokens to predict after), `last` INT32 [1]
(place of the last token, those before counted), `total` INT32 (how many tokens there are with those before), and per
layer `past_key.N` and `past_value.N`, FP32 [1, groups, P, size]. Outputs: `logits` FP32 [W, vocabulary], and per layer
`key.N` and `value.N`, FP32 [1, groups, P + T, size], which are the next call's past.

A number of a block is `q * scale + offset`. `MatMulNBits` knows no offset of its own that is not whole, so it multiplies
`q * scale`, and the offsets are multiplied with the sums of the input's blocks: the same, to rounding.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from services.models import gguf, gguf_tokenizer, llama, parity
from services.models.converters import Report
from services.models.entry import Model
from services.models.gguf import BLOCK, Blocks, Gguf
from services.models.llama import Shape
from services.models.onnx_graph import Graph
from services.models.optimise import optimise

OPSET = 21
MICROSOFT = "com.microsoft"
PLACES = 2048  # tokens that the graph has angles for; the catalogue's entry allows as many
# Inputs are rounded to eight bits, block by block, before they meet the weights: PRECISE is the alternative, in FP32.
ROUNDED, PRECISE = 4, 1
PRECISE_TOLERANCE = 1e-4  # 3e-6 was seen
WHOLE = 128  # what MatMulNBits takes off a `q` of eight bits
SAMPLE = np.arange(100, 124)  # any tokens do
KEPT = 12  # of them are the past of the others


def convert(model: Model, sources: Path, destination: Path, report: Report) -> None:
    """Write `model.onnx` and the tokenizer, checked against numpy. Raises GgufError and ParityError."""
    report("reading")
    (source,) = sources.glob("*.gguf")
    file = gguf.read(source)
    report("converting")
    optimise(to_onnx(file).SerializeToString(), destination / "model.onnx")
    gguf_tokenizer.write(file.metadata, destination)
    report("checking")
    feed, expected = sample(file)
    reference = f"Llama in NumPy {np.__version__}"
    # What rounding leaves is too far from the reference to find a small mistake by, so the graph is checked without first.
    with tempfile.TemporaryDirectory() as scratch:
        aside = Path(scratch) / "1"
        aside.mkdir()
        optimise(to_onnx(file, PRECISE).SerializeToString(), aside / "precise.onnx")
        parity.record(aside, "precise", feed, expected, tolerance=PRECISE_TOLERANCE, reference=reference)
    tolerance = model.tolerance_of("model")
    parity.record(destination, "model", feed, expected, tolerance=tolerance, reference=reference)


def sample(file: Gguf, ids: NDArray[np.int64] = SAMPLE) -> tuple[parity.Arrays, parity.Arrays]:
    """Return what to give the graph, half of some tokens after the other half, and what it must answer."""
    _, past = llama.run_reference(file, ids[:KEPT])
    logits, _ = llama.run_reference(file, ids[KEPT:], past)
    after = len(ids) - KEPT
    feed: dict[str, NDArray[Any]] = {
        "ids": ids[None, KEPT:],
        "wanted": np.arange(after),
        "last": np.array([len(ids) - 1], np.int32),
        "total": np.array(len(ids), np.int32),
    }
    for layer, (key, value) in enumerate(past):
        feed |= {f"past_key.{layer}": key[None], f"past_value.{layer}": value[None]}
    return feed, {"logits": logits}


def to_onnx(file: Gguf, accuracy: int = ROUNDED) -> onnx.ModelProto:
    """Return the model of a file's weights."""
    return _Llama(file, accuracy).model()


class _Llama:
    """The graph under construction."""

    def __init__(self, file: Gguf, accuracy: int) -> None:
        self._file = file
        self._shape = Shape.of(file)
        self._accuracy = accuracy
        self._graph = Graph()

    def model(self) -> onnx.ModelProto:
        graph, shape = self._graph, self._shape
        for name, angles in zip(("cosine", "sine"), llama.rotation(shape, PLACES), strict=True):
            graph.constant(name, angles)
        embedded = self._embedded()
        normed = graph.node(
            "SimplifiedLayerNormalization",
            [embedded, self._vector("blk.0.attn_norm.weight")],
            "normed.0",
            axis=-1,
            epsilon=shape.epsilon,
        )
        x = embedded
        for layer in range(shape.layers):
            x, normed = self._layer(layer, x, normed)
        picked = graph.node("Gather", [normed, "wanted"], "picked", axis=1)
        flat = graph.node(
            "Squeeze", [picked, graph.constant("first", np.array([0], np.int64))], "picked.flat"
        )
        self._product("token_embd", [self._file.matrices["token_embd.weight"]], flat, "logits")
        return self._closed()

    def _layer(self, layer: int, x: str, normed: str) -> tuple[str, str]:
        """Add a layer; returns its output and the same made ready for the next."""
        graph, shape, own = self._graph, self._shape, f"blk.{layer}"
        packed = self._linear(f"{own}.attn", ("q", "k", "v"), normed)
        # Empty names: keys and values come packed with the queries.
        inputs = [
            packed,
            "",
            "",
            f"past_key.{layer}",
            f"past_value.{layer}",
            "last",
            "total",
            "cosine",
            "sine",
        ]
        outputs = [f"{own}.mixed", f"key.{layer}", f"value.{layer}"]
        graph.nodes.append(
            helper.make_node(
                "GroupQueryAttention",
                inputs,
                outputs,
                name=f"{own}.attention",
                domain=MICROSOFT,
                num_heads=shape.heads,
                kv_num_heads=shape.groups,
                do_rotary=1,
                rotary_interleaved=1,
            )
        )
        attended = self._linear(f"{own}.attn", ("output",), outputs[0])
        x, normed = self._added(x, attended, f"{own}.ffn_norm.weight", f"{own}.attended")
        both = self._linear(f"{own}.ffn", ("gate", "up"), normed)
        graph.nodes.append(
            helper.make_node(
                "Split", [both], [f"{own}.gate", f"{own}.up"], name=f"{own}.split", axis=-1, num_outputs=2
            )
        )
        share = graph.node("Sigmoid", [f"{own}.gate"], f"{own}.share")
        opened = graph.node("Mul", [f"{own}.gate", share], f"{own}.opened")
        active = graph.node("Mul", [opened, f"{own}.up"], f"{own}.active")
        narrow = self._linear(f"{own}.ffn", ("down",), active)
        last = layer + 1 == shape.layers
        following = "output_norm.weight" if last else f"blk.{layer + 1}.attn_norm.weight"
        return self._added(x, narrow, following, f"{own}.done")

    def _added(self, x: str, more: str, norm: str, output: str) -> tuple[str, str]:
        """Add up and normalise; returns the sum and the normalised sum."""
        outputs = [f"{output}.normed", "", "", output]
        self._graph.nodes.append(
            helper.make_node(
                "SkipSimplifiedLayerNormalization",
                [x, more, self._vector(norm)],
                outputs,
                name=output,
                domain=MICROSOFT,
                epsilon=self._shape.epsilon,
            )
        )
        return output, outputs[0]

    def _vector(self, name: str) -> str:
        return self._graph.constant(name, self._file.vectors[name])

    def _linear(self, prefix: str, parts: tuple[str, ...], x: str) -> str:
        """Multiply with matrices that read the same input, all at once."""
        name = f"{prefix}_{'_'.join(parts)}"
        return self._product(
            name, [self._file.matrices[f"{prefix}_{part}.weight"] for part in parts], x, f"{name}.out"
        )

    def _product(self, name: str, parts: list[Blocks], x: str, output: str) -> str:
        graph, weights = self._graph, llama.merged(parts)
        rows, blocks, _ = weights.q.shape
        eight = weights.bits == 8
        packed = weights.q if eight else weights.q[..., ::2] | weights.q[..., 1::2] << 4
        inputs = [x, graph.constant(f"{name}.q", packed), graph.constant(f"{name}.scale", weights.scale)]
        if not eight:
            none = graph.constant(f"{name}.none", np.zeros((rows, -(-blocks // 2)), np.uint8))
            inputs.append(none)
        scaled = graph.node(
            "MatMulNBits",
            inputs,
            output if eight else f"{name}.scaled",
            domain=MICROSOFT,
            K=blocks * BLOCK,
            N=rows,
            bits=weights.bits,
            block_size=BLOCK,
            accuracy_level=self._accuracy,
        )
        if eight:  # the offset is WHOLE times the scale, which it takes off by itself
            return scaled
        split = graph.constant(f"blocks.{blocks}", np.array([0, 0, blocks, BLOCK], np.int64))
        apart = graph.node("Reshape", [x, split], f"{name}.blocks")
        axes = graph.constant("last_axis", np.array([-1], np.int64))
        sums = graph.node("ReduceSum", [apart, axes], f"{name}.sums", keepdims=0)
        offsets = graph.node(
            "MatMul", [sums, graph.constant(f"{name}.offset", weights.offset.T)], f"{name}.offsets"
        )
        return graph.node("Add", [scaled, offsets], output)

    def _embedded(self) -> str:
        """Look the tokens up in the matrix that predicts them, too, and make numbers of them."""
        graph, weights = self._graph, self._file.matrices["token_embd.weight"]
        rows = graph.node("Gather", [graph.constant("token_embd.q", weights.q), "ids"], "embedded.q")
        whole = graph.constant("whole", np.array(WHOLE, np.float32))
        signed = graph.node(
            "Sub",
            [graph.node("Cast", [rows], "embedded.cast", to=TensorProto.FLOAT), whole],
            "embedded.signed",
        )
        scales = graph.node(
            "Gather", [graph.constant("token_embd.scale", weights.scale), "ids"], "embedded.scale"
        )
        axes = graph.constant("last_axis", np.array([-1], np.int64))
        wide = graph.node("Unsqueeze", [scales, axes], "embedded.wide")
        flat = graph.constant("flat", np.array([0, 0, self._shape.width], np.int64))
        return graph.node("Reshape", [graph.node("Mul", [signed, wide], "embedded.parts"), flat], "embedded")

    def _closed(self) -> onnx.ModelProto:
        shape = self._shape
        kept: list[str | int] = [1, shape.groups, "P", shape.size]
        told = helper.make_tensor_value_info
        inputs = [
            told("ids", TensorProto.INT64, [1, "T"]),
            told("wanted", TensorProto.INT64, ["W"]),
            told("last", TensorProto.INT32, [1]),
            told("total", TensorProto.INT32, []),
        ]
        outputs = [told("logits", TensorProto.FLOAT, ["W", len(self._file.matrices["token_embd.weight"].q)])]
        for layer in range(shape.layers):
            for part in ("key", "value"):
                inputs.append(told(f"past_{part}.{layer}", TensorProto.FLOAT, kept))
                outputs.append(told(f"{part}.{layer}", TensorProto.FLOAT, [*kept[:2], "P + T", kept[3]]))
        graph = self._graph
        made = helper.make_graph(graph.nodes, "llama", inputs, outputs, list(graph.constants.values()))
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(made, opset_imports=opsets, ir_version=10)
