"""Video pipelines with random weights: the real classes and layer types, narrow and shallow.

They prove the road from a diffusers directory to streamed frames where no trained weights are at hand; what they show
is coloured noise that follows its picture or prompt.
"""

import unicodedata
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from services.models.diffusers.random_weights import T5_VOCABULARY, learn_t5_tokenizer

WIDTH = 32
# On what Wan's frames take from a prompt: a few words among 512 tokens, most of them padding.
PROMPT_GAIN = 100.0
SVD_SCHEDULE = {  # as published with stable-video-diffusion-img2vid
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "use_karras_sigmas": True,
    "sigma_min": 0.002,
    "sigma_max": 700.0,
    "timestep_spacing": "leading",
    "timestep_type": "continuous",
    "steps_offset": 1,
}


def _svd(scratch: Path) -> Any:
    import diffusers
    import transformers

    return diffusers.StableVideoDiffusionPipeline(
        image_encoder=transformers.CLIPVisionModelWithProjection(
            transformers.CLIPVisionConfig(
                hidden_size=WIDTH,
                projection_dim=WIDTH,
                intermediate_size=2 * WIDTH,
                num_hidden_layers=2,
                num_attention_heads=2,
                image_size=224,
                patch_size=32,
                initializer_factor=5.0,
            )
        ),
        vae=diffusers.AutoencoderKLTemporalDecoder(
            block_out_channels=(32, 32),
            down_block_types=("DownEncoderBlock2D",) * 2,
            layers_per_block=1,
            latent_channels=4,
        ),
        unet=diffusers.UNetSpatioTemporalConditionModel(
            sample_size=16,
            block_out_channels=(32, 64),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
            up_block_types=("UpBlockSpatioTemporal", "UpBlockSpatioTemporal"),
            cross_attention_dim=WIDTH,
            num_attention_heads=2,
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=3 * 8,
            num_frames=5,
        ),
        scheduler=diffusers.EulerDiscreteScheduler(**SVD_SCHEDULE),
        feature_extractor=transformers.CLIPImageProcessorPil(),
    )


def _wan(scratch: Path) -> Any:
    import diffusers
    import torch
    import transformers

    # The names of characters: prose enough to learn pieces from, and on every machine.
    names = (unicodedata.name(chr(code), "") for code in range(0x20, 0x3000))
    learn_t5_tokenizer(sorted({word.lower() for name in names for word in name.split()}), scratch / "t5", 512)
    transformer = diffusers.WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=4,
        text_dim=WIDTH,
        freq_dim=WIDTH,
        ffn_dim=2 * WIDTH,
        num_layers=2,
        rope_max_seq_len=64,
    )
    with torch.no_grad():
        for name, weights in transformer.named_parameters():
            if name.endswith("bias") and ("attn2" in name or "text_embedder" in name):
                weights.zero_()  # else padding would speak louder than words
        for block in transformer.blocks:
            block.attn2.to_out[0].weight.mul_(PROMPT_GAIN)
    return diffusers.WanPipeline(
        tokenizer=transformers.T5Tokenizer.from_pretrained(scratch / "t5"),
        text_encoder=transformers.UMT5EncoderModel(
            transformers.UMT5Config(
                vocab_size=T5_VOCABULARY,
                d_model=WIDTH,
                d_kv=16,
                d_ff=2 * WIDTH,
                num_layers=2,
                num_heads=2,
            )
        ),
        transformer=transformer,
        vae=diffusers.AutoencoderKLWan(
            base_dim=8,
            z_dim=4,
            dim_mult=[1, 1, 1],
            num_res_blocks=1,
            temperal_downsample=[False, True],
            latents_mean=[-0.8, -0.7, 0.1, 1.5],
            latents_std=[2.8, 1.5, 2.3, 1.2],
            scale_factor_temporal=2,
            scale_factor_spatial=4,
        ),
        scheduler=diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    )


PIPELINES: dict[str, Callable[[Path], Any]] = {"svd": _svd, "wan": _wan}


def draw(of: str, seed: int) -> Any:
    """Return a random pipeline of the family `of` (a key of PIPELINES), ready to run; the same seed, the same."""
    import torch

    with TemporaryDirectory() as scratch, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = PIPELINES[of](Path(scratch))
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    return pipeline
