"""The networks of video pipelines as components to export, each with inputs to try it on.

Imports torch, so import this module only where something is exported.
"""

import torch
from torch import Tensor

from services.models.diffusers import video_networks as networks
from services.models.diffusers.components import SEED, load
from services.models.diffusers.directory import Directory
from services.models.diffusers.export import Component

# Frames, rows and columns of the example latents: multiples of 8, the most that a UNet of four levels halves them.
VIDEOS = ((3, 16, 24), (2, 32, 16))


class Draw:
    """Standard normal tensors, one after another, the same at every build."""

    def __init__(self) -> None:
        self._generator = torch.Generator().manual_seed(SEED)

    def __call__(self, *shape: int) -> Tensor:
        """FP32 of that shape."""
        return torch.randn(shape, generator=self._generator)


def image_encoder(directory: Directory) -> Component:
    """CLIP's picture tower."""
    side = directory.config("image_encoder")["image_size"]
    random = Draw()
    examples = [{"pixels": random(1, 3, side, side)} for _ in range(2)]
    wrapped = networks.ImageEncoder(load(directory, "image_encoder"))
    return Component("image_encoder", wrapped, ("pixels",), ("image_embeds",), examples)


def svd_vae_encoder(directory: Directory) -> Component:
    """What the denoiser sees of the picture."""
    factor = 2 ** (len(directory.config("vae")["block_out_channels"]) - 1)
    random = Draw()
    examples = [
        {"image": random(1, 3, rows * factor, columns * factor).clamp(-1, 1)} for _, rows, columns in VIDEOS
    ]
    wrapped = networks.SvdVaeEncoder(load(directory, "vae"))
    return Component("vae_encoder", wrapped, ("image",), ("latents",), examples)


def svd_unet(directory: Directory) -> Component:
    """The denoiser in space and time."""
    config, random = directory.config("unet"), Draw()
    examples = [
        {
            "sample": random(1, frames, config["in_channels"], rows, columns),
            "timestep": torch.tensor([time]),
            "image_embeds": random(1, 1, config["cross_attention_dim"]),
            "time_ids": torch.tensor([[6.0, motion, 0.02]]),
        }
        for (frames, rows, columns), time, motion in zip(VIDEOS, (1.6, -1.5), (127.0, 40.0), strict=True)
    ]
    wrapped = networks.SvdUNet(load(directory, "unet"))
    return Component("unet", wrapped, tuple(examples[0]), ("output",), examples)


def svd_vae_decoder(directory: Directory) -> Component:
    """Frames that are decoded together."""
    channels, random = directory.config("vae")["latent_channels"], Draw()
    examples = [{"latents": random(frames, channels, rows, columns)} for frames, rows, columns in VIDEOS]
    wrapped = networks.SvdVaeDecoder(load(directory, "vae"))
    return Component("vae_decoder", wrapped, ("latents",), ("frames",), examples)


def umt5_encoder(directory: Directory) -> Component:
    """The words."""
    generator = torch.Generator().manual_seed(SEED)
    most = directory.config("text_encoder")["vocab_size"]
    examples = [{"input_ids": torch.randint(3, most, (1, count), generator=generator)} for count in (7, 12)]
    wrapped = networks.Umt5Encoder(load(directory, "text_encoder"))
    return Component("text_encoder", wrapped, ("input_ids",), ("states",), examples)


def wan_transformer(directory: Directory) -> Component:
    """The denoiser in space and time."""
    config, random = directory.config("transformer"), Draw()
    tokens = directory.family.encoders[0].tokens
    examples = [
        {
            "sample": random(1, config["in_channels"], frames, rows, columns),
            "timestep": torch.tensor([time]),
            "encoder_hidden_states": random(1, tokens, config["text_dim"]),
        }
        for (frames, rows, columns), time in zip(VIDEOS, (999.0, 40.0), strict=True)
    ]
    wrapped = networks.WanTransformer(load(directory, "transformer"))
    return Component("transformer", wrapped, tuple(examples[0]), ("velocity",), examples)


def wan_vae_decoder(directory: Directory, *, first: bool) -> Component:
    """One latent frame: the first, or one that looks back on those before it."""
    channels, random = directory.config("vae")["z_dim"], Draw()
    vae = load(directory, "vae")
    examples = [{"latents": random(1, channels, 1, rows, columns)} for _, rows, columns in VIDEOS]
    start = networks.WanVaeDecoder(vae, first=True).eval()
    with torch.inference_mode():
        caches = [start(example["latents"])[1:] for example in examples]
    names = tuple(f"cache_{index}" for index in range(len(caches[0])))
    outputs = ("frames", *(f"next_{name}" for name in names))
    if first:
        return Component("vae_decoder_first", start, ("latents",), outputs, examples)
    looking_back = [
        {"latents": random(1, channels, 1, rows, columns)} | dict(zip(names, cache, strict=True))
        for (_, rows, columns), cache in zip(VIDEOS, caches, strict=True)
    ]
    wrapped = networks.WanVaeDecoder(vae, first=False)
    return Component("vae_decoder", wrapped, ("latents", *names), outputs, looking_back)
