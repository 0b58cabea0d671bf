"""The networks of video pipelines as modules of plain tensors, each named as its graph's inputs and outputs are.

Every graph serves one video: there is no batch. Guidance runs a denoiser twice instead, which halves the memory that
it needs at once.

Imports torch, so import this module only where something is exported.
"""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, WanResample, unpatchify
from torch import Tensor
from torch.nn import Module, functional

CACHED = 2  # frames that a causal convolution of three looks back on


class ImageEncoder(Module):  # type: ignore[misc]
    """pixels [1, 3, 224, 224], normalised for CLIP -> image_embeds [1, 1, D]."""

    def __init__(self, network: Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode."""
        return self.network(pixels).image_embeds.unsqueeze(1)


class SvdVaeEncoder(Module):  # type: ignore[misc]
    """image [1, 3, H, W], -1 to 1 -> latents [1, 4, h, w]: the mode, unscaled, as the denoiser is told the picture."""

    def __init__(self, vae: Module) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, image: Tensor) -> Tensor:
        """Encode."""
        return self.vae.encode(image).latent_dist.mode()


class SvdUNet(Module):  # type: ignore[misc]
    """sample [1, F, 8, h, w], timestep [1], image_embeds [1, 1, D], time_ids [1, 3] -> output [1, F, 4, h, w]."""

    def __init__(self, network: Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, sample: Tensor, timestep: Tensor, image_embeds: Tensor, time_ids: Tensor) -> Tensor:
        """Predict."""
        return self.network(sample, timestep, image_embeds, added_time_ids=time_ids, return_dict=False)[0]


class SvdVaeDecoder(Module):  # type: ignore[misc]
    """latents [n, 4, h, w] of n frames on end -> frames [n, 3, H, W]; they lend one another motion, so n counts."""

    def __init__(self, vae: Module) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latents: Tensor) -> Tensor:
        """Decode."""
        scaled = latents / self.vae.config.scaling_factor
        return self.vae.decode(scaled, num_frames=latents.shape[0], return_dict=False)[0]


class Umt5Encoder(Module):  # type: ignore[misc]
    """input_ids INT64 [1, T], a prompt without padding -> states [1, T, D]."""

    def __init__(self, network: Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor) -> Tensor:
        """Encode."""
        return self.network(input_ids).last_hidden_state


class WanTransformer(Module):  # type: ignore[misc]
    """sample [1, C, f, h, w], timestep [1], encoder_hidden_states [1, 512, D] -> velocity [1, C, f, h, w]."""

    def __init__(self, network: Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        """Predict."""
        return self.network(
            hidden_states=sample,
            timestep=timestep,
            encoder_hidden_states=encoder_hidden_states,
            return_dict=False,
        )[0]


class WanVaeDecoder(Module):  # type: ignore[misc]
    """One latent frame [1, C, 1, h, w] -> its pictures [1, 3, 1 or 4, H, W], and what the next frame looks back on.

    A causal decoder: a frame depends on those before it through two frames of the input of each convolution in time.
    diffusers keeps these in a list that it changes; here they go in and out as tensors, so frame by frame gives what
    decoding the whole video gives. Zeros stand for frames before the first, which is what padding stands for.
    `first`: the graph of the first frame, which is not doubled in time and takes no tensors but the latents.
    """

    def __init__(self, vae: Any, *, first: bool) -> None:
        super().__init__()
        self.vae, self.first = vae, first
        shape = (1, -1, 1, 1, 1)
        self.register_buffer("mean", torch.tensor(vae.config.latents_mean).reshape(shape), persistent=False)
        self.register_buffer(
            "deviation", torch.tensor(vae.config.latents_std).reshape(shape), persistent=False
        )

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Decode."""
        latents, *cache = tensors
        unscaled = self.vae.post_quant_conv(latents * self.deviation + self.mean)
        decoded, after = self._start(unscaled) if self.first else self._decode(unscaled, cache)
        if self.vae.config.patch_size is not None:
            decoded = unpatchify(decoded, patch_size=self.vae.config.patch_size)
        return decoded.clamp(-1, 1), *after

    def _decode(self, latents: Tensor, cache: Sequence[Any]) -> tuple[Tensor, list[Any]]:
        kept = list(cache)
        return self.vae.decoder(latents, feat_cache=kept, feat_idx=[0], first_chunk=self.first), kept

    def _start(self, latents: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Decode the first frame, and turn what diffusers then keeps, one frame or a mark, into two frames."""
        doubled: list[Tensor] = []
        modules = list(self.vae.decoder.modules())
        hooks = [
            module.register_forward_pre_hook(lambda _, inputs: doubled.append(inputs[0]))
            for module in modules
            if isinstance(module, WanResample) and module.mode == "upsample3d"
        ]
        places = sum(isinstance(module, WanCausalConv3d) for module in modules)  # more than are used
        decoded, kept = self._decode(latents, [None] * places)
        for hook in hooks:
            hook.remove()
        inputs = iter(doubled)
        return decoded, [
            torch.zeros_like(next(inputs)).repeat(1, 1, CACHED, 1, 1)  # that layer was passed by
            if isinstance(each, str)
            else functional.pad(each, (0, 0, 0, 0, CACHED - each.shape[2], 0))
            for each in kept
            if each is not None
        ]
