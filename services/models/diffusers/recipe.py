"""What a served pipeline is made of, as data: the parts of `pipeline.json` that come from its directory.

`conditioning.py` and `denoise.py` of the template read it; they know no family by name.
"""

from typing import Any

from services.models.diffusers.directory import Directory
from services.models.diffusers.families import Encoder

TIME_IDS = {"size": 6, "aesthetic": 5}


def encoders(directory: Directory) -> list[Encoder]:
    """Return the family's text encoders that the directory holds."""
    return [each for each in directory.family.encoders if each.component in directory.components]


def tokens_of(directory: Directory, encoder: Encoder) -> int:
    """Return how many ids an encoder reads."""
    return encoder.tokens or int(directory.config(encoder.component)["max_position_embeddings"])


def stage(directory: Directory, prefix: str = "") -> dict[str, Any]:
    """Return one stage of denoising: its network, what conditions it and how its prompts are joined.

    `prefix` is put before the names of its graphs.
    """
    family, config = directory.family, directory.config(directory.family.denoiser)
    present = {each.component for each in encoders(directory)}
    blocks = []
    for block in family.encoder_hidden_states:
        first = next(each for each in family.encoders if each.component == block[0])
        held = [name for name in block if name in present]
        tokens = tokens_of(directory, first) if held else first.tokens
        blocks.append(
            {"encoders": [prefix + name for name in held], "tokens": tokens, "width": _width(config)}
        )
    embedded = family.guidance == "embedded" and bool(config.get("guidance_embeds"))
    return {
        "denoiser": prefix + family.denoiser,
        "encoder_hidden_states": blocks,
        "pooled": [prefix + name for name in family.pooled if name in present],
        "time_ids": family.time_ids,
        "guidance": "embedded" if embedded else "none" if family.guidance == "embedded" else family.guidance,
        "empty_negative": "zeros" if directory.options.get("force_zeros_for_empty_prompt") else "encoded",
        "patch": family.patch,
        "sigmas": family.sigmas,
        "scheduler": directory.scheduler(),
    }


def input_shapes(directory: Directory) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the denoiser's inputs beyond sample and timestep, without the batch."""
    described = stage(directory)
    blocks = described["encoder_hidden_states"]
    shapes: dict[str, tuple[int, ...]] = {
        "encoder_hidden_states": (sum(block["tokens"] for block in blocks), blocks[0]["width"])
    }
    if described["pooled"]:
        held = {each.component: each for each in encoders(directory)}
        shapes["pooled"] = (sum(_pooled_width(directory, held[name]) for name in described["pooled"]),)
    if described["time_ids"]:
        shapes["time_ids"] = (TIME_IDS[described["time_ids"]],)
    if described["guidance"] == "embedded":
        shapes["guidance"] = ()
    return shapes


def _width(config: dict[str, Any]) -> int:
    width: int = config.get("cross_attention_dim") or config["joint_attention_dim"]
    return width


def _pooled_width(directory: Directory, encoder: Encoder) -> int:
    config = directory.config(encoder.component)
    return int(config["projection_dim" if encoder.pooled == "text_embeds" else "hidden_size"])
