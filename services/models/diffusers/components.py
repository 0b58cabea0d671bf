"""A pipeline's networks as components to export: loaded from its directory, wrapped, with inputs to try them on.

Imports torch, so import this module only where something is exported.
"""

from collections.abc import Callable, Mapping

import diffusers
import torch
import transformers
from torch import Tensor
from torch.nn import Module

from services.models.diffusers import networks, recipe
from services.models.diffusers.directory import Directory
from services.models.diffusers.export import Component
from services.models.diffusers.families import Encoder

# Latents of the example inputs, rows and columns: multiples of 8, the most that a UNet of four levels halves them.
SIZES = ((2, 16, 24), (1, 32, 16))
SEED = 0

Change = Callable[[str, Module], None]
"""Called with a network's name in the directory and its module before it is wrapped, such as to merge a LoRA."""


def unchanged(name: str, network: Module) -> None:
    """Leave a network as it is."""


def load(directory: Directory, name: str, change: Change = unchanged) -> Module:
    """Return a network of the directory in FP32, changed."""
    library, kind = directory.components[name]
    source = {"diffusers": diffusers, "transformers": transformers}[library]
    network = _all_alike(getattr(source, kind)).from_pretrained(
        directory.path / name,
        variant=directory.variant(name),
        use_safetensors=True,
        torch_dtype=torch.float32,
        local_files_only=True,
    )
    change(name, network)
    return network


def _all_alike(kind: type[Module]) -> type[Module]:
    """The class without a list of layers to keep in FP32, since all are: for such a list diffusers wants accelerate."""
    if not issubclass(kind, diffusers.ModelMixin) or kind._keep_in_fp32_modules is None:
        return kind
    return type(kind.__name__, (kind,), {"_keep_in_fp32_modules": None})


def text_encoder(directory: Directory, encoder: Encoder, change: Change = unchanged) -> Component:
    """Return a text encoder; its examples are padded as prompts are."""
    network = load(directory, encoder.component, change)
    config = directory.config(encoder.component)
    tokens, words = encoder.tokens or config["max_position_embeddings"], config["vocab_size"]
    generator = torch.Generator().manual_seed(SEED)
    examples = []
    for batch in (2, 1):
        ids = torch.randint(3, words - 2, (batch, tokens), generator=generator)
        ids[:, tokens // 2 :] = words - 1  # CLIP's end of text, its largest, where it reads the pooled state
        examples.append({"input_ids": ids})
    outputs = tuple(name for name in ("states", "pooled") if getattr(encoder, name))
    wrapped = networks.TextEncoder(network, encoder.states, encoder.pooled)
    return Component(encoder.component, wrapped, ("input_ids",), outputs, examples)


def denoiser(
    directory: Directory, shapes: Mapping[str, tuple[int, ...]], change: Change = unchanged
) -> Component:
    """Return the denoiser; `shapes` are those of its inputs beyond sample and timestep, without the batch."""
    family = directory.family
    network = load(directory, family.denoiser, change)
    channels = recipe.latent_channels(directory)
    generator = torch.Generator().manual_seed(SEED)

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    examples = []
    for batch, rows, columns in SIZES:
        example = {
            "sample": random(batch, channels, rows, columns),
            "timestep": torch.linspace(999, 1, 3)[:batch],
        }
        example |= {name: random(batch, *shape) for name, shape in shapes.items()}
        for name in ("time_ids", "guidance"):
            if name in example:
                example[name] = (
                    example[name].abs() * 100
                )  # sizes, scores and scales: not what a normal draw gives
        examples.append(example)
    wrapped = getattr(networks, family.wrapper)(network)
    return Component(family.denoiser, wrapped, tuple(examples[0]), ("output",), examples)


def vae_decoder(directory: Directory) -> Component:
    """Return the decoder, with the scale and shift of its latents."""
    generator = torch.Generator().manual_seed(SEED)
    channels = recipe.latent_channels(directory)
    examples = [
        {"latents": torch.randn((batch, channels, rows, columns), generator=generator)}
        for batch, rows, columns in SIZES
    ]
    return Component(
        "vae_decoder", networks.VaeDecoder(load(directory, "vae")), ("latents",), ("image",), examples
    )


def vae_encoder(directory: Directory) -> Component:
    """Return the encoder, with the scale and shift of its latents."""
    generator = torch.Generator().manual_seed(SEED)
    factor = recipe.pixels_per_latent(directory)
    examples = [
        {"image": torch.rand((batch, 3, rows * factor, columns * factor), generator=generator) * 2 - 1}
        for batch, rows, columns in SIZES
    ]
    return Component(
        "vae_encoder",
        networks.VaeEncoder(load(directory, "vae")),
        ("image",),
        ("mean", "deviation"),
        examples,
    )
