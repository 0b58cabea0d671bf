"""Video pipelines of diffusers directories as served models: the converter of `model_repository/video_diffusers`.

Two families: "svd" sets a picture in motion (StableVideoDiffusionPipeline), "wan" makes a video from words
(WanPipeline). Imports no torch until something is exported.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from services.models.diffusers import tokenizers
from services.models.diffusers.directory import Directory, DirectoryError, inspect
from services.models.diffusers.export import ALONE, Component, ExportError, export, quiet
from services.models.diffusers.families import Encoder, Family
from services.models.entry import Model, RandomSource
from services.models.serving.schedulers import scheduler

SVD = Family(
    name="svd",
    pipelines=("StableVideoDiffusionPipeline",),
    denoiser="unet",
    wrapper="SvdUNet",
    encoders=(Encoder("image_encoder", "feature_extractor"),),
    encoder_hidden_states=(("image_encoder",),),
    from_image=True,
)
WAN = Family(
    name="wan",
    pipelines=("WanPipeline",),
    denoiser="transformer",
    wrapper="WanTransformer",
    encoders=(Encoder("text_encoder", "tokenizer", "last", tokens=512),),
    encoder_hidden_states=(("text_encoder",),),
)
ALWAYS = ("seed", "steps", "guidance_scale", "frames")
WAN_2_2 = ("boundary_ratio", "expand_timesteps")  # two transformers; a time of its own for each token


@dataclass(frozen=True)
class Video:
    """What a family's requests hold beyond ALWAYS: `required`, and `numbers` that the entry gives defaults for.

    `texts` are defaults of texts. `components` and `describe` export and describe a directory.
    """

    required: tuple[str, ...]
    numbers: tuple[str, ...]
    texts: Mapping[str, str]
    components: Callable[[Directory], list[Callable[[], Component]]]
    describe: Callable[[Directory], dict[str, Any]]


def convert(model: Model, sources: Path, destination: Path, report: Callable[[str], None]) -> None:
    """Write a model's graphs and `pipeline.json`.

    Raises DirectoryError, ExportError, ParityError or TokenizerError, whose texts say what is wrong with which file or
    field.
    """
    if model.loras:
        raise ExportError("loras: are not merged into video pipelines")
    # One pipeline at a time: each fills the memory, and the libraries do not bear being imported by two threads.
    with ALONE, TemporaryDirectory() as scratch:
        if isinstance(model.source, RandomSource):
            from services.models.diffusers.video_random import draw

            report("drawing random weights")
            sources = Path(scratch) / "pipeline"
            with quiet():
                draw(model.source.of, model.source.seed).save_pretrained(sources)
        _convert(model, inspect(sources, VIDEOS), destination, report)


def _convert(model: Model, directory: Directory, destination: Path, report: Callable[[str], None]) -> None:
    if directory.family.name != model.family:
        holds = f"a {directory.pipeline}, which is {directory.family.name}"
        raise DirectoryError(f"{directory.path}: holds {holds}; {model.name} serves {model.family}")
    video = VIDEOS[directory.family]
    described = _describe(model, directory, video)  # what is wrong with it is known before the long part
    for encoder in directory.family.encoders:
        if encoder.tokens:
            tokenizers.convert(directory, encoder.tokenizer, encoder.tokens, destination)
    for make in video.components(directory):
        export(make, destination, precision=model.precision, tolerance=model.tolerance_of, report=report)
    text = json.dumps(described, indent=2) + "\n"
    (destination / "pipeline.json").write_text(text, encoding="utf-8")


def _describe(model: Model, directory: Directory, video: Video) -> dict[str, Any]:
    """What `model.py` reads. Raises ExportError for an entry that lacks a field and a pipeline that is not supported."""
    for name in video.numbers:
        if name not in model.defaults:
            raise ExportError(f"{model.name}: defaults.{name}: is missing from the entry")
    limited = ("steps", "guidance_scale", "frames", *video.numbers)
    for name in limited:
        if name not in model.limits:
            raise ExportError(f"{model.name}: limits.{name}: is missing from the entry")
    described = {
        "family": directory.family.name,
        "required": [*video.required, *ALWAYS],
        "defaults": dict(video.texts) | {name: model.defaults[name] for name in video.numbers},
        "limits": {name: [model.limits[name].minimum, model.limits[name].maximum] for name in limited},
        "sizes": model.sizes,
        "scheduler": directory.scheduler(),
    } | video.describe(directory)
    try:
        scheduler(described["scheduler"], 2)
    except ValueError as error:
        raise ExportError(f"{directory.path}/scheduler/scheduler_config.json: {error}") from error
    multiple = described["pixels_per_latent"] * described.pop("latents_per_token")
    if not model.sizes:
        raise ExportError(f"{model.name}: sizes: is missing from the entry")
    for size in model.sizes:
        if any(side % multiple for side in size):
            raise ExportError(f"{model.name}: sizes: must be multiples of {multiple}; {size} given")
    return described


def _svd_components(directory: Directory) -> list[Callable[[], Component]]:
    from services.models.diffusers import video_components as parts

    makers = (parts.image_encoder, parts.svd_vae_encoder, parts.svd_unet, parts.svd_vae_decoder)
    return [partial(make, directory) for make in makers]


def _svd(directory: Directory) -> dict[str, Any]:
    processor = json.loads(
        (directory.path / "feature_extractor" / "preprocessor_config.json").read_text(encoding="utf-8")
    )
    return {
        "frames_per_latent": 1,
        "pixels_per_latent": 2 ** (len(directory.config("vae")["block_out_channels"]) - 1),
        "latents_per_token": 2 ** (len(directory.config("unet")["block_out_channels"]) - 1),
        "image": {
            "side": directory.config("image_encoder")["image_size"],
            "mean": processor["image_mean"],
            "deviation": processor["image_std"],
        },
    }


def _wan_components(directory: Directory) -> list[Callable[[], Component]]:
    from services.models.diffusers import video_components as parts

    makers = (
        parts.umt5_encoder,
        parts.wan_transformer,
        partial(parts.wan_vae_decoder, first=True),
        partial(parts.wan_vae_decoder, first=False),
    )
    return [partial(make, directory) for make in makers]


def _wan(directory: Directory) -> dict[str, Any]:
    if refused := [name for name in WAN_2_2 if directory.options.get(name)]:
        raise ExportError(
            f"{', '.join(refused)}: Wan 2.2 is not supported; give a Wan 2.1 text-to-video pipeline"
        )
    vae = directory.config("vae")
    return {
        "frames_per_latent": vae["scale_factor_temporal"],
        "pixels_per_latent": vae["scale_factor_spatial"],
        "latents_per_token": directory.config("transformer")["patch_size"][1],
        "latent_channels": directory.config("transformer")["in_channels"],
        "tokens": directory.family.encoders[0].tokens,
    }


MICRO = ("fps", "motion_bucket_id", "noise_aug_strength", "min_guidance_scale", "decode_chunk_size")
VIDEOS: Mapping[Family, Video] = {
    SVD: Video(("image",), MICRO, {}, _svd_components, _svd),
    WAN: Video(("prompt",), (), {"negative_prompt": ""}, _wan_components, _wan),
}
