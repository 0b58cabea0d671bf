"""The network: a pixel-space transformer that predicts the clean image from a noisy one, time and text.

x-prediction flow matching: z = t * x + (1 - t) * noise, the network predicts x. 64x64 pixels are 64 tokens of
8x8; 12 text tokens stand before them; a small convolutional head smooths what the patches put back.
"""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.house.onnx_weights import read_weights


class Block(nn.Module):
    """Attention and squared-ReLU MLP, both modulated by time and text: [B, T, width] -> [B, T, width]."""

    def __init__(self, width: int, heads: int, expand: int = 3) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.project = nn.Linear(width, width)
        self.up = nn.Linear(width, expand * width)
        self.down = nn.Linear(expand * width, width)
        self.modulation = nn.Parameter(torch.zeros(6, width))

    def forward(self, x: Tensor, shared: Tensor) -> Tensor:
        """`shared` [B, 6, width]: scale, shift and gate of both halves, before this block's own offsets."""
        b, n, d = x.shape
        scale1, shift1, gate1, scale2, shift2, gate2 = (shared + self.modulation).unsqueeze(2).unbind(1)
        y = self.norm1(x) * (1 + scale1) + shift1
        q, k, v = self.qkv(y).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        q = F.layer_norm(q, q.shape[-1:])
        k = F.layer_norm(k, k.shape[-1:]) * (d // self.heads) ** -0.5
        # The plain product: on a CPU its backward pass is three times as fast as the fused kernel at this size.
        y = (torch.softmax(q @ k.transpose(-1, -2), -1) @ v).transpose(1, 2).reshape(b, n, d)
        x = x + (1 + gate1) * self.project(y)
        y = self.norm2(x) * (1 + scale2) + shift2
        return x + (1 + gate2) * self.down(F.relu(self.up(y)).square())


class Refine(nn.Module):
    """Three convolutions at full size that remove the borders between patches; starts as the identity.

    image, z [B, 3, S, S] and t [B] -> image [B, 3, S, S].
    """

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.enter = nn.Conv2d(7, channels, 3, padding=1)
        self.middle = nn.Conv2d(channels, channels, 3, padding=1)
        self.leave = nn.Conv2d(channels, 3, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, image: Tensor, z: Tensor, t: Tensor) -> Tensor:
        """See the class."""
        time = t.to(image.dtype)[:, None, None, None].expand(-1, 1, *image.shape[2:])
        y = F.silu(self.enter(torch.cat([image, z, time], 1)))
        y = y + F.silu(self.middle(y))
        return image + self.leave(y)


class HouseModel(nn.Module):
    """z [B, 3, S, S] in about [-1, 1], t [B] in [0, 1], words [B, 12, 384], pooled [B, 384] -> x [B, 3, S, S]."""

    def __init__(
        self,
        size: int = 64,
        patch: int = 8,
        width: int = 320,
        depth: int = 8,
        heads: int = 5,
        words: int = 12,
        context: int = 384,
        bottleneck: int = 128,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "size": size, "patch": patch, "width": width, "depth": depth, "heads": heads, "words": words,
            "context": context, "bottleneck": bottleneck,
        }  # fmt: skip
        self.patch, self.grid, self.width, self.words = patch, size // patch, width, words
        self.patch_in = nn.Sequential(
            nn.Linear(3 * patch * patch, bottleneck, bias=False), nn.Linear(bottleneck, width)
        )
        self.patch_position = nn.Parameter(torch.zeros(1, self.grid**2, width))
        self.word_position = nn.Parameter(torch.zeros(1, words, width))
        self.word_in = nn.Linear(context, width)
        self.time_in = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))
        self.pooled_in = nn.Linear(context, width)
        self.modulation = nn.Linear(width, 6 * width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm_out = nn.LayerNorm(width)
        self.patch_out = nn.Linear(width, 3 * patch * patch)
        self.refine = Refine()
        self.frequencies: Tensor
        self.register_buffer(
            "frequencies", torch.exp(-math.log(1e4) * torch.arange(128) / 128), persistent=False
        )

    def forward(self, z: Tensor, t: Tensor, words: Tensor, pooled: Tensor) -> Tensor:
        """See the class; `words` are token states with padding zeroed, `pooled` their mean over real tokens."""
        b, c, h, w = z.shape
        p, g = self.patch, self.grid
        tokens = z.reshape(b, c, g, p, g, p).permute(0, 2, 4, 1, 3, 5).reshape(b, g * g, c * p * p)
        angle = t.float()[:, None] * 1000 * self.frequencies.float()
        time = torch.cat([angle.cos(), angle.sin()], -1).to(z.dtype)
        shared = self.modulation(F.silu(self.time_in(time) + self.pooled_in(pooled))).view(b, 6, self.width)
        x = torch.cat(
            [self.word_in(words) + self.word_position, self.patch_in(tokens) + self.patch_position], 1
        )
        for block in self.blocks:
            x = block(x, shared)
        x = self.patch_out(self.norm_out(x[:, self.words :]))
        image = x.reshape(b, g, g, c, p, p).permute(0, 3, 1, 4, 2, 5).reshape(b, c, h, w)
        return self.refine(image, z, t)


# The pilot's names for the same tensors (its checkpoint is where the first full training starts from).
PILOT_NAMES = {
    "inp": "patch_in", "pos": "patch_position", "tpos": "word_position", "txt": "word_in", "t": "time_in",
    "pool": "pooled_in", "ada": "modulation", "bl": "blocks", "no": "norm_out", "out": "patch_out",
}  # fmt: skip
PILOT_BLOCK_NAMES = {"o": "project", "f1": "up", "f2": "down", "mod": "modulation"}


def from_pilot(state: dict[str, Tensor], model: HouseModel) -> dict[str, Tensor]:
    """A state for `model` with the pilot's tensors under our names (ours stay), what it lacks as `model` has it."""
    renamed = {
        name: value.clone() for name, value in model.state_dict().items() if name.startswith("refine.")
    }
    for name, value in state.items():
        parts = name.split(".")
        parts[0] = PILOT_NAMES.get(parts[0], parts[0])
        if parts[0] == "blocks":
            parts[2] = PILOT_BLOCK_NAMES.get(parts[2], parts[2])
        renamed[".".join(parts)] = value
    return renamed


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A training checkpoint, or an exported graph as {"config", "ema"}; `config` is HouseModel's arguments."""
    if path.suffix != ".onnx":
        found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return found
    state = read_weights(path)
    config = HouseModel().config
    return {
        "config": config,
        "ema": {name: state[name] for name, _ in HouseModel(**config).named_parameters()},
    }


def load_model(path: str | Path, ema: bool = True) -> HouseModel:
    """The model of a checkpoint (ours, the pilot's or an exported graph), fp32, in eval mode, on the CPU."""
    checkpoint = read_checkpoint(Path(path))
    model = HouseModel(**checkpoint["config"])
    model.load_state_dict(from_pilot(checkpoint["ema" if ema else "weights"], model))
    return model.eval().requires_grad_(False)
