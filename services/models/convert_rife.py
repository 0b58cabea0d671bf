"""RIFE's published checkpoint -> ONNX, checked against PyTorch."""

from pathlib import Path

import torch

from services.models.architectures import checkpoint, rife
from services.models.converters import Report
from services.models.diffusers.export import ALONE, Component, export
from services.models.entry import Model, OperatorSource, RandomSource

WRAPPERS = ("module",)  # what training on several GPUs puts before every name
NARROW = (16, 16, 16, 16)


def convert(model: Model, sources: Path, destination: Path, report: Report) -> None:
    """Write `between.onnx`. Raises WeightsError and ParityError."""
    network = _network(model, sources)
    inputs = ("first", "second", "time")
    export(
        lambda: Component("between", network, inputs, ("frame",), [_example(64, 96), _example(96, 64)]),
        destination,
        precision=model.precision,
        tolerance=model.tolerance_of,
        report=report,
    )


def _network(model: Model, sources: Path) -> rife.IfNet:
    if isinstance(model.source, RandomSource):
        with ALONE:
            torch.manual_seed(model.source.seed)
            drawn = rife.IfNet(NARROW)
            drawn.eval()
            return drawn
    assert isinstance(model.source, OperatorSource)
    # Left over from training, and passed over by the publisher's own loader too.
    filled: rife.IfNet = checkpoint.load(rife.IfNet(), sources, model.source.hub, WRAPPERS, extra=True)
    return filled


def _example(height: int, width: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.rand(1, 3, height, width, generator=generator) for _ in range(2))
    return {"first": first, "second": second, "time": torch.tensor([0.4])}
