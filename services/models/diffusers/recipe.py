"""What a served pipeline is made of, as data: the parts of `pipeline.json` that come from its directory.

`conditioning.py` and `denoise.py` of the template read it; they know no family by name.
"""

from collections.abc import Iterable
from typing import Any

from services.models.diffusers.directory import SCHEDULER, Directory, DirectoryError
from services.models.diffusers.families import Encoder
from services.models.serving.schedulers import scheduler

TIME_IDS = {"size": 6, "aesthetic": 5}
# Stable Diffusion 1.x is published with the first; the second reads the same schedule and needs fewer steps.
STAND_INS = {"PNDMScheduler": "DPMSolverMultistepScheduler"}


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
        "scheduler": schedule(directory),
    }


def schedule(directory: Directory) -> dict[str, Any]:
    """Return the scheduler's configuration, under the name of its stand-in where it has one."""
    config = directory.scheduler()
    return config | {"_class_name": STAND_INS.get(config.get("_class_name", ""), config.get("_class_name"))}


def check(directory: Directory, steps: int, sizes: Iterable[tuple[int, int]]) -> None:
    """Look at what the export would only stumble over later. Raises DirectoryError: file or field, rule, what would do."""
    family = directory.family
    config = directory.config(family.denoiser)
    where = f"{directory.path}/{family.denoiser}/config.json"
    expected = latent_channels(directory) * (family.patch**2 if family.packed else 1)
    if config["in_channels"] != expected:
        raise DirectoryError(
            f"{where}: in_channels: must be {expected}, as many as latents have; {config['in_channels']} given: "
            "inpainting and control are not supported"
        )
    if config.get("time_cond_proj_dim"):
        raise DirectoryError(f"{where}: time_cond_proj_dim: latent consistency models are not supported")
    halvings = len(config["block_out_channels"]) - 1 if family.denoiser == "unet" else 0
    multiple = pixels_per_latent(directory) * max(family.patch, 2**halvings)
    wrong = [f"{width}x{height}" for width, height in sizes if width % multiple or height % multiple]
    if wrong:
        raise DirectoryError(f"sizes: must be multiples of {multiple}; {', '.join(wrong)} given")
    described = schedule(directory)
    shift: dict[str, Any] = {"mu": 1.0} if described.get("use_dynamic_shifting") else {}
    try:
        scheduler(described, steps, **shift)
    except ValueError as error:
        raise DirectoryError(
            f"{directory.path / SCHEDULER}: {error}; change it to one that is served"
        ) from error


def latent_channels(directory: Directory) -> int:
    """Return how many channels latents have."""
    return int(directory.config("vae")["latent_channels"])


def pixels_per_latent(directory: Directory) -> int:
    """Return how many pixels a latent is wide: each block of the VAE but the last halves the picture."""
    return int(2 ** (len(directory.config("vae")["block_out_channels"]) - 1))


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
