"""The families of text-to-image pipelines, as data: which networks each has, and how a prompt becomes conditioning.

Nothing outside this table and `networks` knows one family from another: what serves reads `pipeline.json`, which is
written from here.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Encoder:
    """A text encoder. `states`: which layer's the denoiser reads; `pooled`: its output that sums up the prompt.

    `tokens`: how many a prompt is padded and cut to; 0 as many as the encoder has positions.
    """

    component: str
    tokenizer: str
    states: Literal["last", "penultimate"] | None = None
    pooled: str | None = None
    tokens: int = 0
    optional: bool = False


@dataclass(frozen=True)
class Family:
    """One architecture.

    `encoder_hidden_states` are blocks of encoders: within a block states are joined along features, blocks along
    tokens, narrower ones padded with zeros to the widest. `pooled` joins the encoders' along features. `time_ids`:
    SDXL's numbers, ending in the target size or in an aesthetic score. `guidance`: a second run with the negative
    prompt, or a number that the denoiser is told. `patch`: latents a denoiser's token is wide; `packed`: its configuration counts a patch as
    channels. `sigmas`: "linear" where
    the pipeline hands the scheduler linspace(1, 1 / steps, steps). `from_image`: it starts from a picture.
    """

    name: str
    pipelines: tuple[str, ...]
    denoiser: Literal["unet", "transformer"]
    wrapper: str
    encoders: tuple[Encoder, ...]
    encoder_hidden_states: tuple[tuple[str, ...], ...]
    pooled: tuple[str, ...] = ()
    time_ids: Literal["size", "aesthetic"] | None = None
    guidance: Literal["classifier-free", "embedded"] = "classifier-free"
    patch: int = 1
    packed: bool = False
    sigmas: Literal["linear"] | None = None
    from_image: bool = False


SDXL_SECOND = Encoder("text_encoder_2", "tokenizer_2", "penultimate", "text_embeds")

FAMILIES = (
    Family(
        name="stable-diffusion",
        pipelines=("StableDiffusionPipeline",),
        denoiser="unet",
        wrapper="UNet",
        encoders=(Encoder("text_encoder", "tokenizer", "last"),),
        encoder_hidden_states=(("text_encoder",),),
    ),
    Family(
        name="sdxl",
        pipelines=("StableDiffusionXLPipeline",),
        denoiser="unet",
        wrapper="SdxlUNet",
        encoders=(Encoder("text_encoder", "tokenizer", "penultimate"), SDXL_SECOND),
        encoder_hidden_states=(("text_encoder", "text_encoder_2"),),
        pooled=("text_encoder_2",),
        time_ids="size",
    ),
    Family(
        name="sdxl-refiner",
        pipelines=("StableDiffusionXLImg2ImgPipeline",),
        denoiser="unet",
        wrapper="SdxlUNet",
        encoders=(SDXL_SECOND,),
        encoder_hidden_states=(("text_encoder_2",),),
        pooled=("text_encoder_2",),
        time_ids="aesthetic",
        from_image=True,
    ),
    Family(
        name="sd3",
        pipelines=("StableDiffusion3Pipeline",),
        denoiser="transformer",
        wrapper="Sd3Transformer",
        encoders=(
            Encoder("text_encoder", "tokenizer", "penultimate", "text_embeds"),
            Encoder("text_encoder_2", "tokenizer_2", "penultimate", "text_embeds"),
            Encoder("text_encoder_3", "tokenizer_3", "last", tokens=256, optional=True),
        ),
        encoder_hidden_states=(("text_encoder", "text_encoder_2"), ("text_encoder_3",)),
        pooled=("text_encoder", "text_encoder_2"),
        patch=2,
    ),
    Family(
        name="flux",
        pipelines=("FluxPipeline",),
        denoiser="transformer",
        wrapper="FluxTransformer",
        encoders=(
            Encoder("text_encoder", "tokenizer", None, "pooler_output"),
            Encoder("text_encoder_2", "tokenizer_2", "last", tokens=512),
        ),
        encoder_hidden_states=(("text_encoder_2",),),
        pooled=("text_encoder",),
        guidance="embedded",
        patch=2,
        packed=True,
        sigmas="linear",
    ),
)
