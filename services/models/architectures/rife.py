"""RIFE 4.6's network for frames between frames, with the key names of its published checkpoint (`flownet.pkl`).

Huang et al., Real-Time Intermediate Flow Estimation for Video Frame Interpolation, 2022, in the later form without a
context and a fusion network: four blocks, coarse to fine, refine the flow from the unknown frame to both known ones and
the mask that mixes what is fetched along it.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.2
WIDTHS = (192, 128, 96, 64)
SCALES = (8, 4, 2, 1)  # a block works on pictures that many times smaller
MULTIPLE = 32  # of a picture's sides: the coarsest block halves its own twice
PICTURES, TIME, MASK, FLOW = 6, 1, 1, 4  # channels


def _halving(into: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(into, out, 3, 2, 1), nn.LeakyReLU(SLOPE))


class ScaledResidual(nn.Module):
    """A convolution and a way round it, weighed channel by channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, 1, 1)
        self.beta = nn.Parameter(torch.ones(1, width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[N, width, H, W] -> the same."""
        return functional.leaky_relu(self.conv(x) * self.beta + x, SLOPE)


class Block(nn.Module):
    """What is known so far at one scale -> a change of the flow and of the mask, at full size."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv0 = nn.Sequential(_halving(channels, width // 2), _halving(width // 2, width))
        self.convblock = nn.Sequential(*(ScaledResidual(width) for _ in range(8)))
        # Six channels of two by two pixels: the last is trained and not used.
        self.lastconv = nn.Sequential(
            nn.ConvTranspose2d(width, 4 * (FLOW + MASK + 1), 4, 2, 1), nn.PixelShuffle(2)
        )

    def forward(self, known: Tensor, flow: Tensor | None, scale: int) -> tuple[Tensor, Tensor]:
        """[N, channels, H, W] and the flow [N, 4, H, W] in pixels -> [N, 4, H, W] and [N, 1, H, W]."""
        x = _resize(known, 1 / scale)
        if flow is not None:
            x = torch.cat([x, _resize(flow, 1 / scale) / scale], 1)
        change = _resize(self.lastconv(self.convblock(self.conv0(x))), scale)
        return change[:, :FLOW] * scale, change[:, FLOW : FLOW + MASK]


def _resize(x: Tensor, factor: float) -> Tensor:
    return (
        x
        if factor == 1
        else functional.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    )


def warp(picture: Tensor, flow: Tensor) -> Tensor:
    """[N, C, H, W] read at each pixel's place plus `flow` [N, 2, H, W] (x, y in pixels), the border continued."""
    height, width = picture.shape[2:]
    y = torch.arange(height, dtype=flow.dtype).view(1, -1, 1)
    x = torch.arange(width, dtype=flow.dtype).view(1, 1, -1)
    across, down = x + flow[:, 0], y + flow[:, 1]
    grid = torch.stack([across * 2 / (width - 1) - 1, down * 2 / (height - 1) - 1], -1)
    return functional.grid_sample(picture, grid, mode="bilinear", padding_mode="border", align_corners=True)


class IfNet(nn.Module):
    """Two pictures [N, 3, H, W] in [0, 1] and a time [1] in (0, 1) -> the picture then; H and W multiples of 32."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        known = PICTURES + TIME
        for index, width in enumerate(widths):
            channels = known if index == 0 else known + MASK + FLOW
            setattr(self, f"block{index}", Block(channels, width))

    def forward(self, first: Tensor, second: Tensor, time: Tensor) -> Tensor:
        """The picture at `time`, [N, 3, H, W]."""
        when = time.view(1, 1, 1, 1).expand(first.shape[0], 1, *first.shape[2:])
        flow, mask = self.block0(torch.cat([first, second, when], 1), None, SCALES[0])
        for block, scale in zip((self.block1, self.block2, self.block3), SCALES[1:], strict=True):
            fetched = [warp(first, flow[:, :2]), warp(second, flow[:, 2:])]
            flow_change, mask_change = block(torch.cat([*fetched, when, mask], 1), flow, scale)
            flow, mask = flow + flow_change, mask + mask_change
        share = torch.sigmoid(mask)
        mixed: Tensor = warp(first, flow[:, :2]) * share + warp(second, flow[:, 2:]) * (1 - share)
        return mixed
