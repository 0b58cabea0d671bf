"""A small Llama of random weights as a GGUF file, with a vocabulary of bytes and a few words."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers.pre_tokenizers import ByteLevel

from services.models.gguf import ALIGNMENT, BLOCK

WIDTH, HEADS, GROUPS, WIDE, LAYERS = 64, 4, 2, 96, 2
MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["r e", "re d", "Ġ c", "a t"]
BYTES = sorted(ByteLevel.alphabet())
TOKENS = [*MARKS, *BYTES, *(merge.replace(" ", "") for merge in MERGES)]
METADATA: dict[str, Any] = {
    "general.architecture": "llama",
    "llama.block_count": LAYERS,
    "llama.embedding_length": WIDTH,
    "llama.attention.head_count": HEADS,
    "llama.attention.head_count_kv": GROUPS,
    "llama.context_length": 256,
    "llama.rope.freq_base": 1e4,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.merges": MERGES,
    "tokenizer.ggml.unknown_token_id": 0,
}


def write(path: Path, metadata: dict[str, Any] = METADATA) -> None:
    """Write the file; equal calls write equal files."""
    generator = np.random.default_rng(0)
    size = WIDTH // HEADS
    shapes = {"token_embd.weight": (len(TOKENS), WIDTH), "output_norm.weight": (WIDTH,)}
    for layer in range(LAYERS):
        matrices = {
            "attn_q": (WIDTH, WIDTH),
            "attn_k": (GROUPS * size, WIDTH),
            "attn_v": (GROUPS * size, WIDTH),
            "attn_output": (WIDTH, WIDTH),
            "ffn_gate": (WIDE, WIDTH),
            "ffn_up": (WIDE, WIDTH),
            "ffn_down": (WIDTH, WIDE),
        }
        shapes |= {f"blk.{layer}.{name}.weight": shape for name, shape in matrices.items()}
        shapes |= {f"blk.{layer}.{name}_norm.weight": (WIDTH,) for name in ("attn", "ffn")}
    head = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(metadata))
    head += b"".join(_text(key) + _value(value) for key, value in metadata.items())
    body = b""
    for name, shape in shapes.items():
        values = generator.standard_normal(shape).astype(np.float32)
        kind, packed = (
            (0, (1 + values / 10).astype("<f4").tobytes())
            if len(shape) == 1
            else (8, q8_0(values / 10))  # small, so that a token does not foretell itself
            if name == "token_embd.weight"
            else (3, q4_1(values / WIDTH**0.5))
        )
        dims = struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        head += _text(name) + dims + struct.pack("<IQ", kind, len(body))
        body += packed + bytes(-len(packed) % ALIGNMENT)
    path.write_bytes(head + bytes(-len(head) % ALIGNMENT) + body)


def q8_0(values: NDArray[np.float32]) -> bytes:
    """Pack a matrix as ggml does: a scale and 32 signed bytes."""
    blocks = values.reshape(-1, BLOCK)
    scale = (np.abs(blocks).max(1) / 127).astype("<f2")
    q = np.rint(blocks / scale.astype(np.float32)[:, None]).clip(-128, 127).astype("i1")
    return b"".join(one.tobytes() + row.tobytes() for one, row in zip(scale, q, strict=True))


def q4_1(values: NDArray[np.float32]) -> bytes:
    """Pack a matrix as ggml does: a scale, the least number, and 16 bytes of two numbers each."""
    blocks = values.reshape(-1, BLOCK)
    least = blocks.min(1).astype("<f2")
    scale = ((blocks.max(1) - least) / 15).astype("<f2")
    q = np.rint((blocks - least[:, None]) / scale.astype(np.float32)[:, None]).clip(0, 15).astype("u1")
    halves = q[:, :16] | q[:, 16:] << 4
    return b"".join(
        one.tobytes() + low.tobytes() + row.tobytes()
        for one, low, row in zip(scale, least, halves, strict=True)
    )


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _value(value: Any) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    if isinstance(value, list):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(_text, value))
    kind, form = (4, "I") if isinstance(value, int) else (6, "f")
    return struct.pack(f"<I{form}", kind, value)
