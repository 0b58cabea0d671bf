"""The Llama architecture, as GGUF files name its parts: sizes, weights, and its forward pass in plain numpy."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.models.gguf import Array, Blocks, Gguf, GgufError

Cache = list[tuple[Array, Array]]  # per layer keys and values, [heads, tokens, size]


@dataclass(frozen=True)
class Shape:
    """Sizes; `groups` of heads share their keys and values, `reach` is how many tokens it reads."""

    layers: int
    width: int
    heads: int
    groups: int
    reach: int
    base: float
    epsilon: float

    @classmethod
    def of(cls, file: Gguf) -> "Shape":
        """Read the sizes. Raises GgufError for another architecture."""
        told = file.metadata
        if told.get("general.architecture") != "llama":
            raise GgufError(f"architecture {told.get('general.architecture')!r}; wanted 'llama'")
        return cls(
            layers=told["llama.block_count"],
            width=told["llama.embedding_length"],
            heads=told["llama.attention.head_count"],
            groups=told["llama.attention.head_count_kv"],
            reach=told["llama.context_length"],
            base=told["llama.rope.freq_base"],
            epsilon=told["llama.attention.layer_norm_rms_epsilon"],
        )

    @property
    def size(self) -> int:
        """Numbers in a head."""
        return self.width // self.heads


def rotation(shape: Shape, tokens: int) -> tuple[Array, Array]:
    """Return the cosines and sines that places are told by, FP32 [tokens, size / 2] each."""
    turns = shape.base ** (-np.arange(0, shape.size, 2) / shape.size)
    angles = np.outer(np.arange(tokens), turns)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def merged(parts: Sequence[Blocks]) -> Blocks:
    """Put matrices of equal width under one another."""
    return Blocks(
        np.concatenate([part.q for part in parts]),
        np.concatenate([part.scale for part in parts]),
        np.concatenate([part.offset for part in parts]),
        parts[0].bits,
    )


def run_reference(file: Gguf, ids: NDArray[np.int64], past: Cache | None = None) -> tuple[Array, Cache]:
    """Compute logits FP32 [T, vocabulary] for INT64 [T] after `past`, and what the next tokens need. Slow."""
    shape = Shape.of(file)
    before = past[0][0].shape[1] if past else 0
    cosine, sine = (part[before:] for part in rotation(shape, before + len(ids)))
    matrix = {name: blocks.dequantised() for name, blocks in file.matrices.items()}

    def normalise(x: Array, name: str) -> Array:
        root = np.sqrt((x * x).mean(-1, keepdims=True) + shape.epsilon)
        return np.asarray(x / root * file.vectors[name], np.float32)

    def split(x: Array, heads: int) -> Array:
        return x.reshape(len(ids), heads, shape.size).swapaxes(0, 1)

    def turned(x: Array) -> Array:
        even, odd = x[..., ::2], x[..., 1::2]
        pairs = np.stack([even * cosine - odd * sine, even * sine + odd * cosine], axis=-1)
        return np.asarray(pairs.reshape(x.shape), np.float32)

    hidden = np.where(np.arange(before + len(ids)) > before + np.arange(len(ids))[:, None], -np.inf, 0)
    x, cache = matrix["token_embd.weight"][ids], Cache()
    for layer in range(shape.layers):
        own = f"blk.{layer}"
        normed = normalise(x, f"{own}.attn_norm.weight")
        query, key, value = (
            split(normed @ matrix[f"{own}.attn_{part}.weight"].T, heads)
            for part, heads in (("q", shape.heads), ("k", shape.groups), ("v", shape.groups))
        )
        query, key = turned(query), turned(key)
        if past:
            key = np.concatenate([past[layer][0], key], axis=1)
            value = np.concatenate([past[layer][1], value], axis=1)
        cache.append((key, value))
        shared = shape.heads // shape.groups
        scores = query @ key.repeat(shared, 0).swapaxes(1, 2) / math.sqrt(shape.size) + hidden
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (shares / shares.sum(-1, keepdims=True)) @ value.repeat(shared, 0)
        joined = mixed.swapaxes(0, 1).reshape(len(ids), shape.width).astype(np.float32)
        x = x + joined @ matrix[f"{own}.attn_output.weight"].T
        normed = normalise(x, f"{own}.ffn_norm.weight")
        gate = normed @ matrix[f"{own}.ffn_gate.weight"].T
        active = gate / (1 + np.exp(-gate)) * (normed @ matrix[f"{own}.ffn_up.weight"].T)
        x = x + active @ matrix[f"{own}.ffn_down.weight"].T
    logits = normalise(x, "output_norm.weight") @ matrix["token_embd.weight"].T
    return np.asarray(logits, np.float32), cache
