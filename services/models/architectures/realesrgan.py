"""The two networks of Real-ESRGAN, with the key names of its checkpoints.

RRDBNet: ESRGAN's residual-in-residual dense blocks (Wang et al., ESRGAN, 2018), with the pixels of a picture folded into
channels first where it enlarges less than four times (Wang et al., Real-ESRGAN, 2021). SRVGGNetCompact: a plain row of
convolutions whose result is added to the enlarged picture. Both take FP32 [N, 3, H, W] RGB in [0, 1] and give
[N, 3, scale * H, scale * W]; `multiple` is what H and W must be multiples of.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from services.models.ncnn import Layer

SLOPE = 0.2
RESIDUAL = 0.2  # residuals are scaled down so that deep networks can be trained
BODY = re.compile(r"body\.(\d+)\.")
FOLDED = {3: 1, 12: 2, 48: 4}  # channels of the first convolution -> pixels folded into them, on each side


def _convolution(into: int, out: int) -> nn.Conv2d:
    return nn.Conv2d(into, out, 3, 1, 1)


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees the results of all before it."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        for index in range(5):
            width = features if index == 4 else growth
            setattr(self, f"conv{index + 1}", _convolution(features + index * growth, width))

    def forward(self, x: Tensor) -> Tensor:
        """[N, features, H, W] -> the same."""
        seen = [x]
        for index in range(1, 5):
            convolved = getattr(self, f"conv{index}")(torch.cat(seen, 1))
            seen.append(functional.leaky_relu(convolved, SLOPE))
        added: Tensor = self.conv5(torch.cat(seen, 1)) * RESIDUAL + x
        return added


class ResidualBlock(nn.Module):
    """Three dense blocks and a way round them."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (DenseBlock(features, growth) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """[N, features, H, W] -> the same."""
        added: Tensor = self.rdb3(self.rdb2(self.rdb1(x))) * RESIDUAL + x
        return added


class RrdbNet(nn.Module):
    """`scale` 4, 2 or 1, made of `blocks` residual blocks."""

    def __init__(self, scale: int = 4, blocks: int = 23, features: int = 64, growth: int = 32) -> None:
        super().__init__()
        self.scale, self.multiple = scale, 4 // scale
        self.conv_first = _convolution(3 * self.multiple**2, features)
        self.body = nn.Sequential(*(ResidualBlock(features, growth) for _ in range(blocks)))
        for name in ("conv_body", "conv_up1", "conv_up2", "conv_hr"):
            setattr(self, name, _convolution(features, features))
        self.conv_last = _convolution(features, 3)

    def forward(self, image: Tensor) -> Tensor:
        """[N, 3, H, W] -> [N, 3, scale * H, scale * W]."""
        first = self.conv_first(functional.pixel_unshuffle(image, self.multiple))
        x = first + self.conv_body(self.body(first))
        for convolution in (self.conv_up1, self.conv_up2):
            x = functional.leaky_relu(convolution(functional.interpolate(x, scale_factor=2)), SLOPE)
        last: Tensor = self.conv_last(functional.leaky_relu(self.conv_hr(x), SLOPE))
        return last


class SrvggNetCompact(nn.Module):
    """`convolutions` of `features` channels between the first and the last, each followed by a PReLU."""

    multiple = 1

    def __init__(self, scale: int = 4, convolutions: int = 16, features: int = 64) -> None:
        super().__init__()
        self.scale = scale
        widths = [3, *[features] * (convolutions + 1)]
        layers: list[nn.Module] = []
        for into, out in pairwise(widths):
            layers += [_convolution(into, out), nn.PReLU(out)]
        self.body = nn.ModuleList([*layers, _convolution(features, 3 * scale**2)])

    def forward(self, image: Tensor) -> Tensor:
        """[N, 3, H, W] -> [N, 3, scale * H, scale * W]."""
        x = image
        for layer in self.body:
            x = layer(x)
        return functional.pixel_shuffle(x, self.scale) + functional.interpolate(
            image, scale_factor=self.scale
        )


Network = RrdbNet | SrvggNetCompact


def of_shapes(shapes: Mapping[str, tuple[int, ...]]) -> Network | None:
    """Make the network that a checkpoint's tensors belong to, its weights not yet filled in; None for another kind."""
    numbers = [int(found[1]) for name in shapes if (found := BODY.match(name))]
    if not numbers:
        return None
    first, dense = shapes.get("conv_first.weight"), shapes.get("body.0.rdb1.conv1.weight")
    if first and dense and first[1] in FOLDED:
        return RrdbNet(4 // FOLDED[first[1]], max(numbers) + 1, features=first[0], growth=dense[0])
    start, last = shapes.get("body.0.weight"), shapes.get(f"body.{max(numbers)}.weight")
    if start and last and len(last) == 4:
        scale = round((last[0] / 3) ** 0.5)
        if 3 * scale**2 == last[0] and 1 <= scale <= 4 and max(numbers) % 2 == 0:
            return SrvggNetCompact(scale, max(numbers) // 2 - 1, features=start[0])
    return None


def of_layers(layers: Sequence[Layer]) -> Network:
    """Make the network that an ncnn file was made of and fill it in; in evaluation mode.

    An account of the same weights that owes nothing to the file's graph: layers are taken in the order of execution.
    """
    weighty = [layer for layer in layers if layer.weight is not None]
    slopes = sum(layer.kind == "PReLU" for layer in weighty)
    network: Network
    if slopes:
        network = SrvggNetCompact(convolutions=slopes - 1)
        parts = list(network.body)
    else:
        network = RrdbNet(blocks=(len(weighty) - 6) // 15)
        dense = [part for block in network.body for part in block.children()]
        parts = [network.conv_first, *(part for block in dense for part in block.children())]
        parts += [network.conv_body, network.conv_up1, network.conv_up2, network.conv_hr, network.conv_last]
    for part, layer in zip(parts, weighty, strict=True):
        state = {"weight": torch.from_numpy(layer.weight)}
        part.load_state_dict(state if layer.bias is None else state | {"bias": torch.from_numpy(layer.bias)})
    network.eval()
    return network
