"""CodeFormer: a face as a 16 × 16 grid of codes from a learned book, predicted by a transformer.

Zhou et al., "Towards Robust Blind Face Restoration with Codebook Lookup Transformer" (2022); the autoencoder is a
VQGAN (Esser et al., 2021). Parameter names are those of the published checkpoint's `params_ema`.

It runs in two parts, because the choice of codes between them is a step function: `Encode` gives scores for every
code, the largest is taken, `Decode` draws. Each part is continuous, so each can be checked numerically.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.2
FUSED = (32, 64, 128, 256)
"""Sides at which the decoder is shown the encoder's features."""
LATENT = 16
"""Side of the grid of codes; attention runs at this side alone."""


@dataclass(frozen=True)
class Sizes:
    """Widths of the network. Pictures are 512 × 512: the latent side, doubled once less than there are multiples."""

    width: int = 64
    multiples: tuple[int, ...] = (1, 2, 2, 4, 4, 8)
    blocks: int = 2
    groups: int = 32
    code: int = 256
    codes: int = 1024
    embedding: int = 512
    heads: int = 8
    layers: int = 9

    @property
    def side(self) -> int:
        """Width and height of the pictures, in pixels."""
        return int(LATENT * 2 ** (len(self.multiples) - 1))


PUBLISHED = Sizes()
SMALL = Sizes(width=8, groups=4, code=32, codes=64, embedding=32, heads=2, layers=2)


def normalise(wide: int, sizes: Sizes) -> nn.GroupNorm:
    """Return the group normalisation that every part has."""
    return nn.GroupNorm(sizes.groups, wide, eps=1e-6)


class Residual(nn.Module):
    """Two normalised convolutions, added to their input."""

    def __init__(self, wide: int, out: int, sizes: Sizes) -> None:
        super().__init__()
        self.norm1, self.conv1 = normalise(wide, sizes), nn.Conv2d(wide, out, 3, padding=1)
        self.norm2, self.conv2 = normalise(out, sizes), nn.Conv2d(out, out, 3, padding=1)
        if wide != out:
            self.conv_out = nn.Conv2d(wide, out, 1)
        self.projects = wide != out

    def forward(self, features: Tensor) -> Tensor:
        """[N, wide, H, W] -> [N, out, H, W]."""
        made = self.conv1(functional.silu(self.norm1(features)))
        made = self.conv2(functional.silu(self.norm2(made)))
        return (self.conv_out(features) if self.projects else features) + made


class Attention(nn.Module):
    """Self-attention with one head over all positions, added to its input."""

    def __init__(self, wide: int, sizes: Sizes) -> None:
        super().__init__()
        self.norm = normalise(wide, sizes)
        self.q, self.k, self.v = (nn.Conv2d(wide, wide, 1) for _ in range(3))
        self.proj_out = nn.Conv2d(wide, wide, 1)

    def forward(self, features: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        calm = self.norm(features)
        query, key, value = (
            part(calm).flatten(2).transpose(1, 2)[:, None] for part in (self.q, self.k, self.v)
        )
        seen = functional.scaled_dot_product_attention(query, key, value)[:, 0]
        drawn: Tensor = self.proj_out(seen.transpose(1, 2).reshape(features.shape))
        return features + drawn


class Halve(nn.Module):
    """A strided convolution, padded to the right and below."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(wide, wide, 3, stride=2)

    def forward(self, features: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H / 2, W / 2]."""
        made: Tensor = self.conv(functional.pad(features, (0, 1, 0, 1)))
        return made


class Double(nn.Module):
    """Nearest neighbours, then a convolution."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(wide, wide, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, 2H, 2W]."""
        made: Tensor = self.conv(functional.interpolate(features, scale_factor=2.0, mode="nearest"))
        return made


class Blocks(nn.Module):
    """Blocks in a row, and after which of them each side is looked at or fused."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        self.fused: dict[int, int] = {}

    def middle(self, wide: int, sizes: Sizes) -> None:
        """Add what stands at the latent side in both halves."""
        self.blocks += [Residual(wide, wide, sizes), Attention(wide, sizes), Residual(wide, wide, sizes)]


def encoder(sizes: Sizes) -> Blocks:
    """Return the blocks from a picture [N, 3, side, side] to its features [N, code, 16, 16].

    A side is looked at after its last residual block.
    """
    part, wide, side = Blocks(), sizes.width, sizes.side
    part.blocks.append(nn.Conv2d(3, wide, 3, padding=1))
    for level, multiple in enumerate(sizes.multiples):
        for _ in range(sizes.blocks):
            part.blocks.append(Residual(wide, sizes.width * multiple, sizes))
            wide = sizes.width * multiple
            if side == LATENT:
                part.blocks.append(Attention(wide, sizes))
        part.fused[len(part.blocks) - 1] = side
        if level < len(sizes.multiples) - 1:
            part.blocks.append(Halve(wide))
            side //= 2
    part.middle(wide, sizes)
    part.blocks += [normalise(wide, sizes), nn.Conv2d(wide, sizes.code, 3, padding=1)]
    return part


def generator(sizes: Sizes) -> Blocks:
    """Return the blocks from codes [N, code, 16, 16] to a picture. A side is fused after its first residual block."""
    part, wide, side = Blocks(), sizes.width * sizes.multiples[-1], LATENT
    part.blocks.append(nn.Conv2d(sizes.code, wide, 3, padding=1))
    part.middle(wide, sizes)
    for multiple in reversed(sizes.multiples):
        for number in range(sizes.blocks):
            part.blocks.append(Residual(wide, sizes.width * multiple, sizes))
            wide = sizes.width * multiple
            if number == 0:
                part.fused[len(part.blocks) - 1] = side
            if side == LATENT:
                part.blocks.append(Attention(wide, sizes))
        if side < sizes.side:
            part.blocks.append(Double(wide))
            side *= 2
    part.blocks += [normalise(wide, sizes), nn.Conv2d(wide, 3, 3, padding=1)]
    return part


class SelfAttention(nn.Module):
    """Attention with several heads; queries and keys carry the position, values do not."""

    def __init__(self, wide: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * wide, wide))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * wide))
        self.out_proj = nn.Linear(wide, wide)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        """[N, T, C] and [T, C] -> [N, T, C]."""
        placed = tokens + position
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        query, key, value = (
            functional.linear(given, weight, bias).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for given, weight, bias in zip((placed, placed, tokens), weights, biases, strict=True)
        )
        seen = functional.scaled_dot_product_attention(query, key, value)
        drawn: Tensor = self.out_proj(seen.transpose(1, 2).flatten(2))
        return drawn


class Layer(nn.Module):
    """A transformer layer, normalised before its parts."""

    def __init__(self, wide: int, heads: int) -> None:
        super().__init__()
        self.self_attn = SelfAttention(wide, heads)
        self.linear1, self.linear2 = nn.Linear(wide, 2 * wide), nn.Linear(2 * wide, wide)
        self.norm1, self.norm2 = nn.LayerNorm(wide), nn.LayerNorm(wide)

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        """[N, T, C] and [T, C] -> [N, T, C]."""
        tokens = tokens + self.self_attn(self.norm1(tokens), position)
        added: Tensor = self.linear2(functional.gelu(self.linear1(self.norm2(tokens))))
        return tokens + added


class Fuse(nn.Module):
    """Bends the decoder's features towards the encoder's, as far as `fidelity` says (equation 5 of the paper)."""

    def __init__(self, wide: int, sizes: Sizes) -> None:
        super().__init__()
        self.encode_enc = Residual(2 * wide, wide, sizes)
        self.scale, self.shift = (
            nn.Sequential(
                nn.Conv2d(wide, wide, 3, padding=1), nn.LeakyReLU(SLOPE), nn.Conv2d(wide, wide, 3, padding=1)
            )
            for _ in range(2)
        )

    def forward(self, seen: Tensor, drawn: Tensor, fidelity: Tensor) -> Tensor:
        """[N, C, H, W] twice and [1] -> [N, C, H, W]."""
        both = self.encode_enc(torch.cat([seen, drawn], 1))
        return drawn + fidelity * (drawn * self.scale(both) + self.shift(both))


class Codebook(nn.Module):
    """The learned codes."""

    def __init__(self, codes: int, wide: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(codes, wide)


class CodeFormer(nn.Module):
    """Everything that the checkpoint holds; `Encode` and `Decode` run it."""

    def __init__(self, sizes: Sizes = PUBLISHED) -> None:
        super().__init__()
        self.encoder, self.generator = encoder(sizes), generator(sizes)
        self.quantize = Codebook(sizes.codes, sizes.code)
        self.position_emb = nn.Parameter(torch.zeros(LATENT**2, sizes.embedding))
        self.feat_emb = nn.Linear(sizes.code, sizes.embedding)
        self.ft_layers = nn.ModuleList(Layer(sizes.embedding, sizes.heads) for _ in range(sizes.layers))
        self.idx_pred_layer = nn.Sequential(
            nn.LayerNorm(sizes.embedding), nn.Linear(sizes.embedding, sizes.codes, bias=False)
        )
        widths = {
            sizes.side // 2**level: sizes.width * multiple for level, multiple in enumerate(sizes.multiples)
        }
        self.fuse_convs_dict = nn.ModuleDict({str(side): Fuse(widths[side], sizes) for side in FUSED})


class Encode(nn.Module):
    """A face -> scores of the codes, its own features at the latent side, and those that the decoder is shown."""

    def __init__(self, network: CodeFormer) -> None:
        super().__init__()
        self.network = network

    def forward(self, face: Tensor) -> tuple[Tensor, ...]:
        """[N, 3, 512, 512] in [-1, 1] -> scores [N, 256, codes], [N, code, 16, 16], then [N, C, side, side] for FUSED."""
        network, features, seen = self.network, face, {}
        for number, block in enumerate(network.encoder.blocks):
            features = block(features)
            if network.encoder.fused.get(number) in FUSED:
                seen[network.encoder.fused[number]] = features
        tokens = network.feat_emb(features.flatten(2).transpose(1, 2))
        for layer in network.ft_layers:
            tokens = layer(tokens, network.position_emb)
        return (network.idx_pred_layer(tokens), features, *(seen[side] for side in FUSED))


class Decode(nn.Module):
    """Codes and what the encoder saw -> the restored face."""

    def __init__(self, network: CodeFormer) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        codes: Tensor,
        features: Tensor,
        fidelity: Tensor,
        seen_32: Tensor,
        seen_64: Tensor,
        seen_128: Tensor,
        seen_256: Tensor,
    ) -> Tensor:
        """[N, 256], [N, code, 16, 16], [1] in [0, 1] and what `Encode` saw -> [N, 3, 512, 512], a little beyond [-1, 1]."""
        network = self.network
        chosen = network.quantize.embedding(codes).transpose(1, 2).reshape(features.shape)
        drawn = recolour(chosen, features)
        shown = dict(zip(FUSED, (seen_32, seen_64, seen_128, seen_256), strict=True))
        for number, block in enumerate(network.generator.blocks):
            drawn = block(drawn)
            side = network.generator.fused.get(number)
            if side in FUSED:
                drawn = network.fuse_convs_dict[str(side)](shown[side], drawn, fidelity)
        return drawn


def recolour(drawn: Tensor, like: Tensor) -> Tensor:
    """Give [N, C, H, W] the mean and deviation of another, channel by channel (AdaIN, Huang & Belongie 2017).

    The codes know faces, not this picture's light; its colours come from what the encoder saw.
    """

    def statistics(features: Tensor) -> tuple[Tensor, Tensor]:
        flat = features.flatten(2)
        mean = flat.mean(2, keepdim=True)
        variance = (flat - mean).square().sum(2, keepdim=True) / (flat.shape[2] - 1) + 1e-5
        return mean[..., None], variance.sqrt()[..., None]

    (mean, deviation), (own, spread) = statistics(like), statistics(drawn)
    return (drawn - own) / spread * deviation + mean


def random(seed: int, sizes: Sizes = SMALL) -> CodeFormer:
    """Return the network with weights drawn from a seed; a network for tests, which restores nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = CodeFormer(sizes)
        nn.init.normal_(network.position_emb, std=0.02)
    network.eval()
    return network
