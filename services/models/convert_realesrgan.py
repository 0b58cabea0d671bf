"""Real-ESRGAN checkpoints (RRDBNet and SRVGGNetCompact, of any depth, width and scale) -> ONNX, checked against PyTorch."""

import json
from pathlib import Path

import torch

from services.models.architectures import checkpoint, realesrgan
from services.models.converters import Report
from services.models.diffusers.export import Component, export
from services.models.entry import Model, OperatorSource
from services.models.operator_weights import WeightsError
from services.models.weights import read_tensors, unwrap

VARIANT = "custom"


def convert(model: Model, sources: Path, destination: Path, report: Report) -> None:
    """Write `custom.onnx`, and `custom.json` that tells its scale and what its tiles' sides are multiples of.

    Raises WeightsError and ParityError.
    """
    network = _network(model, sources)
    side = 12 * network.multiple
    examples = [{"image": _image(2, side, side + 4)}, {"image": _image(1, side + 8, side)}]
    export(
        lambda: Component(VARIANT, network, ("image",), ("upscaled",), examples),
        destination,
        precision=model.precision,
        tolerance=model.tolerance_of,
        report=report,
    )
    told = {"scale": network.scale, "multiple": network.multiple}
    (destination / f"{VARIANT}.json").write_text(json.dumps(told) + "\n", encoding="utf-8")


def _network(model: Model, sources: Path) -> realesrgan.Network:
    assert isinstance(model.source, OperatorSource)
    shapes = {
        name: tuple(tensor.shape)
        for name, tensor in unwrap(read_tensors(sources), checkpoint.WRAPPERS).items()
    }
    network = realesrgan.of_shapes(shapes)
    if network is None:
        raise WeightsError(
            f"{sources.name}: is neither an RRDBNet nor an SRVGGNetCompact, which begin with conv_first and body.0; "
            f"it holds {', '.join(list(shapes)[:3]) or 'nothing'}. {model.source.hub} publishes what is read"
        )
    filled: realesrgan.Network = checkpoint.load(network, sources, model.source.hub)
    return filled


def _image(count: int, height: int, width: int) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))
