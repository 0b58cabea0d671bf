"""GFP-GAN: a U-Net reads a damaged face and steers a StyleGAN2 generator that knows what faces look like.

Wang et al., "Towards Real-World Blind Face Restoration with Generative Facial Prior" (2021), in the form that is
published as GFPGANv1.3 and v1.4 ("GFPGANv1Clean"). Parameter names are those of the checkpoints' `params_ema`.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from services.models.architectures.stylegan2 import FIRST_SIDE, SLOPE, Condition, Generator, StyledConvolution


@dataclass(frozen=True)
class Sizes:
    """Widths of the network; the side of its pictures follows from the number of `channels`."""

    channels: tuple[int, ...] = (512, 512, 512, 512, 512, 256, 128, 64)
    """Features of the generator at each side: 4, 8, … 512. The U-Net has half of them."""
    style: int = 512
    mapping_layers: int = 8

    @property
    def side(self) -> int:
        """Width and height of the pictures, in pixels."""
        return int(FIRST_SIDE * 2 ** (len(self.channels) - 1))


PUBLISHED = Sizes()
SMALL = Sizes(channels=(32, 32, 32, 32, 32, 16, 8, 4), style=32, mapping_layers=2)


class Residual(nn.Module):
    """A residual block that halves or doubles the side, bilinear."""

    def __init__(self, wide: int, out: int, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.conv1 = nn.Conv2d(wide, wide, 3, padding=1)
        self.conv2 = nn.Conv2d(wide, out, 3, padding=1)
        self.skip = nn.Conv2d(wide, out, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """[N, wide, H, W] -> [N, out, H × factor, W × factor]."""
        made = functional.leaky_relu(self.conv1(features), SLOPE)
        made = functional.leaky_relu(self.conv2(self._resize(made)), SLOPE)
        skipped: Tensor = self.skip(self._resize(features))
        return made + skipped

    def _resize(self, features: Tensor) -> Tensor:
        return functional.interpolate(
            features, scale_factor=self.factor, mode="bilinear", align_corners=False
        )


def modulation(wide: int) -> nn.Sequential:
    """Return the two convolutions that turn features of the U-Net into a scale or a shift."""
    return nn.Sequential(
        nn.Conv2d(wide, wide, 3, padding=1), nn.LeakyReLU(SLOPE), nn.Conv2d(wide, wide, 3, padding=1)
    )


class GfpGan(nn.Module):
    """A face, aligned to the FFHQ template, to the same face restored; RGB in [-1, 1] on both ends."""

    def __init__(self, sizes: Sizes = PUBLISHED) -> None:
        super().__init__()
        wide = [features // 2 for features in sizes.channels]
        layers = 2 * len(wide)
        self.style = sizes.style
        self.conv_body_first = nn.Conv2d(3, wide[-1], 1)
        down = zip(wide[:0:-1], wide[-2::-1], strict=True)
        self.conv_body_down = nn.ModuleList(Residual(this, smaller, 0.5) for this, smaller in down)
        self.final_conv = nn.Conv2d(wide[0], wide[0], 3, padding=1)
        up = pairwise(wide)
        self.conv_body_up = nn.ModuleList(Residual(this, larger, 2.0) for this, larger in up)
        # Read only while training, for a loss at every side; the checkpoints hold it.
        self.toRGB = nn.ModuleList(nn.Conv2d(this, 3, 1) for this in wide[1:])
        self.final_linear = nn.Linear(wide[0] * FIRST_SIDE**2, layers * sizes.style)
        self.stylegan_decoder = Generator(sizes.channels, sizes.style, sizes.mapping_layers)
        self.condition_scale = nn.ModuleList(modulation(this) for this in wide[1:])
        self.condition_shift = nn.ModuleList(modulation(this) for this in wide[1:])

    def forward(self, face: Tensor) -> Tensor:
        """[N, 3, side, side] -> [N, 3, side, side]; the result may leave [-1, 1] a little."""
        features = functional.leaky_relu(self.conv_body_first(face), SLOPE)
        passed: list[Tensor] = []
        for block in self.conv_body_down:
            features = block(features)
            passed.append(features)
        features = functional.leaky_relu(self.final_conv(features), SLOPE)
        styles = self.final_linear(features.flatten(1)).unflatten(1, (-1, self.style))
        conditions: list[Condition] = []
        for block, scale, shift in zip(
            self.conv_body_up, self.condition_scale, self.condition_shift, strict=True
        ):
            features = block(features + passed.pop())
            conditions.append((scale(features), shift(features)))
        restored: Tensor = self.stylegan_decoder(styles, conditions)
        return restored


def random(seed: int, sizes: Sizes = SMALL) -> GfpGan:
    """Return the network with weights drawn from a seed, noise at work; a network for tests, which restores nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = GfpGan(sizes)
        for module in network.modules():
            if isinstance(module, StyledConvolution):
                nn.init.constant_(
                    module.weight, 0.1
                )  # born zero, it would leave the noise out of every check
    network.eval()
    return network
