"""Export to ONNX with fp16 weights, refusing to write a graph that does not agree with torch.

Each large weight is stored as fp16 behind a Cast to fp32, which ONNX Runtime folds away when it loads the graph: the
file is half the size and the arithmetic is fp32.
"""

import argparse
import io
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from models.house.network import HouseModel, load_model
from models.house.onnx_weights import HALF, name_weights

OPSET = 20
STORED_FROM = 256  # elements: smaller tensors stay fp32
TOLERANCE = 2e-3  # on images in [-1, 1], of which 1/127.5 is one 8-bit step


def halve_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store every fp32 weight of at least `STORED_FROM` elements as fp16, cast back to fp32 where it is used."""
    graph = model.graph
    casts = []
    for index, weight in enumerate(graph.initializer):
        if weight.data_type != onnx.TensorProto.FLOAT or int(np.prod(weight.dims)) < STORED_FROM:
            continue
        name = weight.name
        half = numpy_helper.to_array(weight).astype(np.float16)
        graph.initializer[index].CopyFrom(numpy_helper.from_array(half, name + HALF))
        casts.append(
            helper.make_node("Cast", [name + HALF], [name], name=f"cast/{name}", to=onnx.TensorProto.FLOAT)
        )
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend([*casts, *nodes])
    onnx.checker.check_model(model)
    return model


def session(model: bytes | Path, threads: int = 1) -> ort.InferenceSession:
    """A CPU session on a graph."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return ort.InferenceSession(
        model if isinstance(model, bytes) else str(model), options, ["CPUExecutionProvider"]
    )


def export(
    module: nn.Module, inputs: dict[str, Tensor], outputs: list[str], dynamic: dict[str, dict[int, str]]
) -> onnx.ModelProto:
    """The module's ONNX graph with fp16 weights; `inputs` are examples by name, `dynamic` names the free axes."""
    shapes = {name: dict.fromkeys(dynamic.get(name, {}), torch.export.Dim.AUTO) for name in inputs}
    program = torch.onnx.export(
        module,
        tuple(inputs.values()),
        input_names=list(inputs),
        output_names=outputs,
        dynamic_shapes=tuple(shapes.values()),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    buffer = io.BytesIO()
    program.save(buffer)
    model = onnx.load_from_string(buffer.getvalue())
    for node in model.graph.node:  # the exporter writes the source lines of this machine into each node
        del node.metadata_props[:]
    for value in [*model.graph.input, *model.graph.output]:
        free = dynamic.get(value.name, dynamic["*"])
        for axis, name in free.items():
            value.type.tensor_type.shape.dim[axis].dim_param = name
    del model.graph.metadata_props[:], model.metadata_props[:], model.graph.value_info[:]
    model.doc_string = model.graph.doc_string = ""
    name_weights(model, dict(module.named_parameters()))
    return halve_weights(model)


def write(
    module: nn.Module, model: onnx.ModelProto, checks: list[dict[str, Tensor]], path: Path, tolerance: float
) -> float:
    """Compare with torch on `checks`, print the largest error and write `path`; raises ValueError above `tolerance`."""
    data = model.SerializeToString()
    running = session(data)
    worst = 0.0
    for inputs in checks:
        with torch.inference_mode():
            expected = module(*inputs.values())
        found = running.run(None, {name: value.numpy() for name, value in inputs.items()})[0]
        worst = max(worst, float(np.abs(found - expected.numpy()).max()))
    print(
        f"{path.name}: largest difference from torch {worst:.2e} (allowed {tolerance:.0e}), {len(data) / 1e6:.1f} MB"
    )
    if not worst <= tolerance:
        raise ValueError(
            f"{path.name} differs from torch by {worst:.2e}, above {tolerance:.0e}; nothing was written"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return worst


def example(model: HouseModel, count: int, seed: int) -> dict[str, Tensor]:
    """Random inputs of the network's shapes, with padded words as real prompts have."""
    rng = torch.Generator().manual_seed(seed)
    size = model.config["size"]
    words = torch.randn(count, 12, 384, generator=rng) * 0.3
    words[:, 7:] = 0
    z = torch.randn(count, 3, size, size, generator=rng)
    return {"z": z, "t": torch.rand(count, generator=rng), "words": words, "pooled": words.sum(1) / 7}


def main() -> None:
    """`python -m models.house.export CHECKPOINT`: write model_repository/text_to_image_house/1/model.onnx."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("--out", type=Path, default=Path("model_repository/text_to_image_house/1/model.onnx"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(args.checkpoint)
    dynamic = {name: {0: "batch"} for name in ("z", "t", "words", "pooled", "*")}
    graph = export(model, example(model, 2, 0), ["x"], dynamic)
    write(model, graph, [example(model, count, count) for count in (1, 3, 8)], args.out, TOLERANCE)


if __name__ == "__main__":
    main()
