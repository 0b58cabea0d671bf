"""The networks of a pipeline as modules of plain tensors, each named as its graph's inputs and outputs are.

All denoisers look alike from outside: `sample` [B, C, h, w] and `timestep` [B] (0 to 1000) in, a tensor of the sample's
shape out; what they do beyond that, such as FLUX's packing of 2x2 patches, stays in the graph.

Imports torch, so import this module only where something is exported.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

TIMESTEPS = 1000.0  # FLUX counts time from 0 to 1


class TextEncoder(Module):  # type: ignore[misc]
    """input_ids INT64 [B, T] -> states [B, T, D], pooled [B, P], or only one of them.

    states: "last", or "penultimate" (the layer before the last, without the final norm). pooled: the name of the
    network's own output.
    """

    def __init__(self, network: Module, states: str | None, pooled: str | None) -> None:
        super().__init__()
        self.network, self.states, self.pooled = network, states, pooled

    def forward(self, input_ids: Tensor) -> Any:
        """Encode."""
        given = self.network(input_ids, output_hidden_states=self.states == "penultimate")
        found = []
        if self.states:
            last = self.states == "last"
            found.append(given.last_hidden_state if last else given.hidden_states[-2])
        if self.pooled:
            found.append(getattr(given, self.pooled))
        return tuple(found) if len(found) > 1 else found[0]


class UNet(Module):  # type: ignore[misc]
    """encoder_hidden_states [B, T, D] -> the network's output [B, C, h, w]."""

    def __init__(self, network: Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor) -> Tensor:
        """Predict."""
        return self.network(sample, timestep, encoder_hidden_states, return_dict=False)[0]


class SdxlUNet(Module):  # type: ignore[misc]
    """The same, told pooled [B, P] and time_ids [B, 6 or 5]: sizes, crop, and target size or aesthetic score."""

    def __init__(self, network: Module) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        pooled: Tensor,
        time_ids: Tensor,
    ) -> Tensor:
        """Predict."""
        # In FP16 too these are joined with what is made of time_ids in FP32; ONNX joins nothing of two types.
        added = {"text_embeds": pooled.float(), "time_ids": time_ids}
        return self.network(
            sample, timestep, encoder_hidden_states, added_cond_kwargs=added, return_dict=False
        )[0]


class Sd3Transformer(Module):  # type: ignore[misc]
    """encoder_hidden_states [B, T, D], pooled [B, P] -> the velocity [B, C, h, w]; h and w are even."""

    def __init__(self, network: Module) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, pooled: Tensor
    ) -> Tensor:
        """Predict."""
        return self.network(
            hidden_states=sample,
            timestep=timestep,
            encoder_hidden_states=encoder_hidden_states,
            pooled_projections=pooled,
            return_dict=False,
        )[0]


class Rotary(Module):  # type: ignore[misc]
    """FLUX's rotary embedding, angles in FP32: the network's own takes FP64, which TensorRT has not.

    ids [N, axes] -> cosines and sines [N, sum of dims]. At position 512, the furthest, an angle is off by 3e-5.
    """

    def __init__(self, theta: float, dims: list[int]) -> None:
        super().__init__()
        powers = [torch.arange(0, dim, 2, dtype=torch.float64) / dim for dim in dims]
        for axis, power in enumerate(powers):
            self.register_buffer(f"rates_{axis}", (1.0 / theta**power).float(), persistent=False)
        self.axes = len(dims)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Turn positions into the two halves of the rotations."""
        rates = (getattr(self, f"rates_{axis}").float() for axis in range(self.axes))
        angles = torch.cat([ids[:, axis, None].float() * rate for axis, rate in enumerate(rates)], dim=1)
        angles = angles.repeat_interleave(2, dim=1)
        return angles.cos(), angles.sin()


class FluxTransformer(Module):  # type: ignore[misc]
    """encoder_hidden_states [B, T, D], pooled [B, P], guidance [B] if it was distilled -> velocity [B, C, h, w]."""

    def __init__(self, network: Module) -> None:
        super().__init__()
        self.network = network
        network.pos_embed = Rotary(network.pos_embed.theta, network.pos_embed.axes_dim)

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        pooled: Tensor,
        guidance: Tensor | None = None,
    ) -> Tensor:
        """Predict; a token is a patch of 2x2 and all of its channels (`FluxPipeline._pack_latents`)."""
        channels, rows, columns = sample.shape[1], sample.shape[2] // 2, sample.shape[3] // 2
        patches = sample.reshape(-1, channels, rows, 2, columns, 2).permute(0, 2, 4, 1, 3, 5)
        down = torch.arange(rows)[:, None].expand(rows, columns)
        across = torch.arange(columns)[None, :].expand(rows, columns)
        places = torch.stack([torch.zeros_like(down), down, across], dim=-1).reshape(rows * columns, 3)
        velocity = self.network(
            hidden_states=patches.reshape(-1, rows * columns, channels * 4),
            timestep=timestep / TIMESTEPS,
            guidance=guidance,
            pooled_projections=pooled,
            encoder_hidden_states=encoder_hidden_states,
            txt_ids=torch.zeros(encoder_hidden_states.shape[1], 3),
            img_ids=places.float(),
            return_dict=False,
        )[0]
        unpacked = velocity.reshape(-1, rows, columns, channels, 2, 2).permute(0, 3, 1, 4, 2, 5)
        return unpacked.reshape(-1, channels, rows * 2, columns * 2)


class VaeDecoder(Module):  # type: ignore[misc]
    """latents [B, C, h, w] as the denoiser leaves them -> image [B, 3, H, W], -1 to 1 and a little beyond."""

    def __init__(self, vae: Module) -> None:
        super().__init__()
        self.vae = vae
        _keep_scale(self, vae.config)

    def forward(self, latents: Tensor) -> Tensor:
        """Decode."""
        return self.vae.decode(latents / self.scale + self.shift, return_dict=False)[0]


class VaeEncoder(Module):  # type: ignore[misc]
    """image [B, 3, H, W], -1 to 1 -> mean and deviation [B, C, h, w] of the latents that the denoiser works on."""

    def __init__(self, vae: Module) -> None:
        super().__init__()
        self.vae = vae
        _keep_scale(self, vae.config)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Encode."""
        found = self.vae.encode(image).latent_dist
        return (found.mean - self.shift) * self.scale, found.std * self.scale


def _keep_scale(module: Module, config: Any) -> None:
    """Keep what latents are divided by and then shifted by before decoding; per channel where the VAE says so."""
    mean, deviation = config.get("latents_mean"), config.get("latents_std")
    if mean is not None and deviation is not None:
        shift, scale = torch.tensor(mean), config["scaling_factor"] / torch.tensor(deviation)
        shift, scale = shift.reshape(1, -1, 1, 1), scale.reshape(1, -1, 1, 1)
    else:
        shift, scale = torch.tensor(config.get("shift_factor") or 0.0), torch.tensor(config["scaling_factor"])
    module.register_buffer("shift", shift, persistent=False)
    module.register_buffer("scale", scale, persistent=False)
