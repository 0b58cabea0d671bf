"""Face restoration from operators' checkpoints: GFP-GAN as one graph, CodeFormer as two around its choice of codes.

Faces are restored one at a time, so that a caller who goes away is noticed between two of them, and memory stays
that of one: every graph takes [1, 3, 512, 512].
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from services.models.architectures import checkpoint, codeformer, gfpgan
from services.models.converters import Report
from services.models.diffusers.export import ALONE, Component, export
from services.models.entry import Model, OperatorSource, RandomSource

FACE = "face"
RESTORED = "restored"
SEEN = tuple(f"seen_{side}" for side in codeformer.FUSED)
FIDELITY = 0.5

Network = TypeVar("Network", bound=nn.Module)


def convert_gfpgan(model: Model, sources: Path, destination: Path, report: Report) -> None:
    """Write `restore.onnx`. Raises WeightsError and ParityError."""
    network = _network(model, sources, gfpgan.GfpGan, gfpgan.random)
    _export(
        model, Component("restore", network, (FACE,), (RESTORED,), [{FACE: _face()}]), destination, report
    )


def convert_codeformer(model: Model, sources: Path, destination: Path, report: Report) -> None:
    """Write `encode.onnx` and `decode.onnx`. Raises WeightsError and ParityError."""
    network = _network(model, sources, codeformer.CodeFormer, codeformer.random)
    encode, decode = codeformer.Encode(network), codeformer.Decode(network)
    face = {FACE: _face()}
    with torch.inference_mode():
        scores, features, *seen = encode(face[FACE])
    given = {"codes": scores.argmax(-1), "features": features, "fidelity": torch.tensor([FIDELITY])}
    given |= dict(zip(SEEN, seen, strict=True))
    given = {name: tensor.clone() for name, tensor in given.items()}  # out of inference mode
    _export(
        model,
        Component("encode", encode, (FACE,), ("scores", "features", *SEEN), [face]),
        destination,
        report,
    )
    _export(model, Component("decode", decode, tuple(given), (RESTORED,), [given]), destination, report)


def _network(
    model: Model, sources: Path, published: Callable[[], Network], random: Callable[[int], Network]
) -> Network:
    if isinstance(model.source, RandomSource):
        with ALONE:
            return random(model.source.seed)
    assert isinstance(model.source, OperatorSource)
    return checkpoint.load(published(), sources, model.source.hub)


def _export(model: Model, component: Component, destination: Path, report: Report) -> None:
    export(
        lambda: component,
        destination,
        precision=model.precision,
        tolerance=model.tolerance_of,
        report=report,
    )


def _face() -> Tensor:
    """A repeatable picture in [-1, 1]: smooth, as faces are, with a little noise."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 16, 16, generator=generator) * 1.6 - 0.8
    smooth = nn.functional.interpolate(coarse, size=(512, 512), mode="bicubic")
    return (smooth + 0.05 * torch.randn(1, 3, 512, 512, generator=generator)).clamp(-1, 1)
