"""Pipelines with random weights: the real classes, layer types and vocabulary, small enough to export in seconds.

They prove the road from a diffusers directory to served pictures where no trained weights are at hand; what they
draw is noise with the prompt's fingerprint. Every size below is the published one made narrow and shallow.
"""

import gzip
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from services.models.diffusers.export import quiet

CLIP_MERGES = 49152 - 256 - 2  # the published vocabulary less its bytes and its two ends of text
CLIP_START, CLIP_END, WORD_END = "<|startoftext|>", "<|endoftext|>", "</w>"
T5_VOCABULARY = 1000  # pieces, learnt in a second; the published one has 32,128
T5_WORDS = 8000  # the most frequent of CLIP's
T5_UNKNOWN = "<unk>"
WIDTH = 32  # of every text encoder but the next
T5_WIDTH = (
    80  # of SD3's: wider than its two CLIPs together, as in the published one, so that these are padded
)


def _byte_letters() -> list[str]:
    """The 256 letters that stand for bytes in CLIP's vocabulary, in its order (Radford et al. 2019, GPT-2)."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    return [*map(chr, printable), *(chr(256 + index) for index in range(256 - len(printable)))]


def write_clip_tokenizer(bpe: Path, directory: Path, pad_token: str = CLIP_END) -> None:
    """Write CLIP's tokenizer files as the hub has them from OpenAI's `bpe_simple_vocab_16e6.txt.gz`."""
    merges = _merges(bpe)
    letters = _byte_letters()
    pieces = [
        *letters,
        *(letter + WORD_END for letter in letters),
        *("".join(merge.split()) for merge in merges),
    ]
    vocabulary = {piece: index for index, piece in enumerate([*pieces, CLIP_START, CLIP_END])}
    directory.mkdir(parents=True)
    (directory / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    (directory / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    special = {"bos_token": CLIP_START, "eos_token": CLIP_END, "unk_token": CLIP_END, "pad_token": pad_token}
    (directory / "special_tokens_map.json").write_text(json.dumps(special))
    configuration = special | {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77}
    (directory / "tokenizer_config.json").write_text(json.dumps(configuration))


def write_t5_tokenizer(bpe: Path, directory: Path, length: int) -> None:
    """Write a T5 tokenizer: the real kind (Unigram), its pieces learnt from the words that CLIP's vocabulary holds."""
    words = [
        "".join(merge.split()).removesuffix(WORD_END) for merge in _merges(bpe) if merge.endswith(WORD_END)
    ]
    learn_t5_tokenizer([word for word in words if word.isalpha()][:T5_WORDS], directory, length)


def learn_t5_tokenizer(words: Iterable[str], directory: Path, length: int) -> None:
    """Write a T5 tokenizer of T5_VOCABULARY pieces learnt from words, for prompts of up to `length`."""
    from tokenizers import SentencePieceUnigramTokenizer
    from transformers import T5Tokenizer

    trained = SentencePieceUnigramTokenizer()
    trained.train_from_iterator(
        words,
        T5_VOCABULARY,
        special_tokens=["<pad>", "</s>", T5_UNKNOWN],
        unk_token=T5_UNKNOWN,
        show_progress=False,
    )
    pieces = [(piece, score) for piece, score in json.loads(trained.to_str())["model"]["vocab"]]
    T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=length).save_pretrained(directory)


def _merges(bpe: Path) -> list[str]:
    with gzip.open(bpe, "rt", encoding="utf-8") as file:
        return file.read().splitlines()[1 : CLIP_MERGES + 1]


def _clip(projection: bool, act: str = "quick_gelu") -> Any:
    import transformers

    kind = transformers.CLIPTextModelWithProjection if projection else transformers.CLIPTextModel
    return kind(
        transformers.CLIPTextConfig(
            hidden_size=WIDTH,
            intermediate_size=2 * WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            projection_dim=WIDTH,
            hidden_act=act,
            initializer_factor=5.0,  # at 1 the prompts are too alike to tell in the picture
            bos_token_id=49406,
            eos_token_id=49407,
            pad_token_id=1,
        )
    )


def _t5(width: int) -> Any:
    import transformers

    return transformers.T5EncoderModel(
        transformers.T5Config(
            vocab_size=T5_VOCABULARY,
            d_model=width,
            d_kv=16,
            d_ff=2 * WIDTH,
            num_layers=2,
            num_heads=2,
            feed_forward_proj="gated-gelu",
        )
    )


def _vae(channels: int, scaling: float, shift: float | None, quantised: bool) -> Any:
    import diffusers

    return diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16),
        norm_num_groups=8,
        layers_per_block=1,
        latent_channels=channels,
        scaling_factor=scaling,
        shift_factor=shift,
        use_quant_conv=quantised,
        use_post_quant_conv=quantised,
        sample_size=128,
    )


def _unet(**configuration: Any) -> Any:
    import diffusers

    return diffusers.UNet2DConditionModel(
        **{
            "sample_size": 16,
            "block_out_channels": (32, 64),
            "layers_per_block": 1,
            "transformer_layers_per_block": 1,
            "norm_num_groups": 8,
        }
        | configuration
    )


def _euler(**configuration: Any) -> Any:
    import diffusers

    schedule = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    return diffusers.EulerDiscreteScheduler(
        **schedule, steps_offset=1, timestep_spacing="leading", **configuration
    )


def _sdxl_unet(text_width: int, time_ids: int) -> Any:
    return _unet(
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        cross_attention_dim=text_width,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=8 * time_ids + WIDTH,
    )


def _sdxl(clip: Callable[..., Any], t5: Callable[..., Any]) -> Any:
    import diffusers

    return diffusers.StableDiffusionXLPipeline(
        vae=_vae(4, 0.13025, None, True),
        text_encoder=_clip(False),
        text_encoder_2=_clip(True, "gelu"),
        tokenizer=clip(),
        tokenizer_2=clip("!"),
        unet=_sdxl_unet(2 * WIDTH, 6),
        scheduler=_euler(),
    )


def _sdxl_refiner(clip: Callable[..., Any], t5: Callable[..., Any]) -> Any:
    import diffusers

    return diffusers.StableDiffusionXLImg2ImgPipeline(
        vae=_vae(4, 0.13025, None, True),
        text_encoder=None,
        text_encoder_2=_clip(True, "gelu"),
        tokenizer=None,
        tokenizer_2=clip("!"),
        unet=_sdxl_unet(WIDTH, 5),
        scheduler=_euler(),
        requires_aesthetics_score=True,
        force_zeros_for_empty_prompt=False,
    )


def _stable_diffusion(clip: Callable[..., Any], t5: Callable[..., Any]) -> Any:
    import diffusers

    schedule = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    return diffusers.StableDiffusionPipeline(
        vae=_vae(4, 0.18215, None, True),
        text_encoder=_clip(False),
        tokenizer=clip(),
        unet=_unet(
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            attention_head_dim=2,
            cross_attention_dim=WIDTH,
        ),
        scheduler=diffusers.DDIMScheduler(
            **schedule, clip_sample=False, set_alpha_to_one=False, steps_offset=1
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _sd3(clip: Callable[..., Any], t5: Callable[..., Any]) -> Any:
    import diffusers

    return diffusers.StableDiffusion3Pipeline(
        vae=_vae(16, 1.5305, 0.0609, False),
        text_encoder=_clip(True),
        text_encoder_2=_clip(True, "gelu"),
        text_encoder_3=_t5(T5_WIDTH),
        tokenizer=clip(),
        tokenizer_2=clip("!"),
        tokenizer_3=t5(512),
        transformer=diffusers.SD3Transformer2DModel(
            sample_size=32,
            patch_size=2,
            in_channels=16,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=4,
            joint_attention_dim=T5_WIDTH,
            caption_projection_dim=64,
            pooled_projection_dim=2 * WIDTH,
            out_channels=16,
            pos_embed_max_size=32,
        ),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def _flux(clip: Callable[..., Any], t5: Callable[..., Any]) -> Any:
    import diffusers

    shifting = {"shift": 3.0, "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15}
    return diffusers.FluxPipeline(
        vae=_vae(16, 0.3611, 0.1159, False),
        text_encoder=_clip(False),
        text_encoder_2=_t5(WIDTH),
        tokenizer=clip(),
        tokenizer_2=t5(512),
        transformer=diffusers.FluxTransformer2DModel(
            in_channels=64,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=WIDTH,
            pooled_projection_dim=WIDTH,
            guidance_embeds=True,
            axes_dims_rope=(4, 6, 6),
        ),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(**shifting),
    )


PIPELINES: dict[str, Callable[[Callable[..., Any], Callable[..., Any]], Any]] = {
    "sdxl": _sdxl,
    "sdxl-refiner": _sdxl_refiner,
    "stable-diffusion": _stable_diffusion,
    "sd3": _sd3,
    "flux": _flux,
}


def write_random(of: str, seed: int, bpe: Path, destination: Path) -> None:
    """Save a random pipeline of the family `of` (a key of PIPELINES) as a diffusers directory; the same seed, the same.

    bpe: OpenAI's `bpe_simple_vocab_16e6.txt.gz`, of which the tokenizers are made. `destination` must not exist.
    """
    import torch
    import transformers

    with quiet(), TemporaryDirectory() as scratch, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizers: list[Path] = []

        def clip(pad_token: str = CLIP_END) -> Any:
            tokenizers.append(Path(scratch) / f"clip-{len(tokenizers)}")
            write_clip_tokenizer(bpe, tokenizers[-1], pad_token)
            return transformers.CLIPTokenizer.from_pretrained(tokenizers[-1])

        def t5(length: int) -> Any:
            write_t5_tokenizer(bpe, Path(scratch) / "t5", length)
            return transformers.T5Tokenizer.from_pretrained(Path(scratch) / "t5")

        pipeline = PIPELINES[of](clip, t5)
        pipeline.save_pretrained(destination)
        for name, part in pipeline.components.items():
            if isinstance(part, transformers.CLIPTokenizer):  # as the hub has it: vocabulary and merges
                shutil.rmtree(destination / name)
                shutil.copytree(part.name_or_path, destination / name)
