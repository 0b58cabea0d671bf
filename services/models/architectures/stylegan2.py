"""The StyleGAN2 generator in its plain form, whose features a caller may modulate while they grow.

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (2020), section 2, with bilinear up-sampling in
place of the blur kernels and with equalised learning rates folded into the weights, which is how GFP-GAN publishes
it ("clean"). Parameter names are those of its checkpoints.
"""

import math
from collections.abc import Sequence
from itertools import count, pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.2
EPSILON = 1e-8
FIRST_SIDE = 4
Condition = tuple[Tensor, Tensor]  # scale and shift, both [N, C / 2, side, side]


def double(features: Tensor) -> Tensor:
    """Enlarge [N, C, H, W] by 2, bilinear."""
    return functional.interpolate(features, scale_factor=2.0, mode="bilinear", align_corners=False)


class ModulatedConvolution(nn.Module):
    """A convolution without bias whose weights are scaled by a style, per input channel and per picture.

    Scaling the input by the style, and the output by the demodulation factor, gives the same numbers as scaling the
    weights and needs no weight of its own for every picture.
    """

    def __init__(self, wide: int, out: int, kernel: int, style: int, *, demodulate: bool) -> None:
        super().__init__()
        self.demodulate = demodulate
        self.modulation = nn.Linear(style, wide)
        self.weight = nn.Parameter(torch.randn(1, out, wide, kernel, kernel) / math.sqrt(wide * kernel**2))
        nn.init.ones_(self.modulation.bias)

    def forward(self, features: Tensor, style: Tensor) -> Tensor:
        """[N, wide, H, W] and [N, style] -> [N, out, H, W]."""
        weight = self.weight[0]
        scale = self.modulation(style)
        made = functional.conv2d(features * scale[:, :, None, None], weight, padding=weight.shape[-1] // 2)
        if not self.demodulate:
            return made
        energy = scale.square() @ weight.square().sum((2, 3)).T
        return made * torch.rsqrt(energy + EPSILON)[:, :, None, None]


class StyledConvolution(nn.Module):
    """A modulated convolution, noise, bias and a leaky ReLU."""

    def __init__(self, wide: int, out: int, style: int) -> None:
        super().__init__()
        self.modulated_conv = ModulatedConvolution(wide, out, 3, style, demodulate=True)
        self.weight = nn.Parameter(torch.zeros(1))
        self.bias = nn.Parameter(torch.zeros(1, out, 1, 1))

    def forward(self, features: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        """[N, wide, H, W] -> [N, out, H, W]."""
        # The square root keeps the variance through the ReLU; the original has it inside its fused activation.
        made = self.modulated_conv(features, style) * math.sqrt(2)
        return functional.leaky_relu(made + self.weight * noise + self.bias, SLOPE)


class ToColours(nn.Module):
    """Features to RGB, on top of the smaller picture's colours."""

    def __init__(self, wide: int, style: int) -> None:
        super().__init__()
        self.modulated_conv = ModulatedConvolution(wide, 3, 1, style, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, features: Tensor, style: Tensor, smaller: Tensor | None = None) -> Tensor:
        """[N, wide, H, W] -> [N, 3, H, W]."""
        colours: Tensor = self.modulated_conv(features, style) + self.bias
        return colours if smaller is None else colours + double(smaller)


class Constant(nn.Module):
    """What every picture starts from."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, wide, FIRST_SIDE, FIRST_SIDE))


class Normalise(nn.Module):
    """Scale each style to unit mean square; the mapping network's first layer."""

    def forward(self, style: Tensor) -> Tensor:
        """[N, style] -> [N, style]."""
        return style * torch.rsqrt(style.square().mean(1, keepdim=True) + EPSILON)


class Generator(nn.Module):
    """Styles and conditions to a picture.

    `channels` are the features of each side from 4 up, each twice the one before. The noise is stored with the
    weights, so equal inputs give equal pictures. `style_mlp` maps the random codes of unconditional drawing to styles;
    it takes no part where styles are given, and is here because the checkpoints hold it.
    """

    def __init__(self, channels: Sequence[int], style: int, mapping_layers: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [Normalise()]
        for _ in range(mapping_layers):
            layers += [nn.Linear(style, style), nn.LeakyReLU(SLOPE)]
        self.style_mlp = nn.Sequential(*layers)
        self.constant_input = Constant(channels[0])
        self.style_conv1 = StyledConvolution(channels[0], channels[0], style)
        self.to_rgb1 = ToColours(channels[0], style)
        self.style_convs, self.to_rgbs = nn.ModuleList(), nn.ModuleList()
        self.noises = nn.Module()
        number = count()
        self._add_noise(next(number), FIRST_SIDE)
        for level, (wide, out) in enumerate(pairwise(channels), start=1):
            self.style_convs += [StyledConvolution(wide, out, style), StyledConvolution(out, out, style)]
            self.to_rgbs.append(ToColours(out, style))
            for _ in range(2):
                self._add_noise(next(number), FIRST_SIDE * 2**level)

    def forward(self, styles: Tensor, conditions: Sequence[Condition]) -> Tensor:
        """[N, layers, style] and one condition for each side from 8 up -> [N, 3, side, side].

        Each condition is applied to the second half of the features at its side, the first half stays as it is
        (channel-split spatial feature transform, Wang et al. 2021, equation 4).
        """
        features = self.constant_input.weight.expand(styles.shape[0], -1, -1, -1)
        features = self.style_conv1(features, styles[:, 0], self.noises.noise0)
        colours = self.to_rgb1(features, styles[:, 1])
        for level, (scale, shift) in enumerate(conditions):
            first, second = 2 * level, 2 * level + 1
            grow, refine = self.style_convs[first], self.style_convs[second]
            noise = [getattr(self.noises, f"noise{index + 1}") for index in (first, second)]
            features = grow(double(features), styles[:, first + 1], noise[0])
            kept, given = features.chunk(2, 1)
            features = torch.cat([kept, given * scale + shift], 1)
            features = refine(features, styles[:, second + 1], noise[1])
            colours = self.to_rgbs[level](features, styles[:, second + 2], colours)
        return colours

    def _add_noise(self, number: int, side: int) -> None:
        self.noises.register_buffer(f"noise{number}", torch.randn(1, 1, side, side))
