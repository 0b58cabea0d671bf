"""LoRA: merged weights against W + scale * alpha / rank * B A written out, through the exported graph too."""

import importlib
import json
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from services.models.diffusers import lora, recipe
from services.models.diffusers.directory import inspect
from services.models.diffusers.export import export
from services.models.entry import Lora, Precision
from services.models.serving.graph import load
from tests.models.diffusers_fixture import directory

torch = pytest.importorskip("torch")
lora_conversion_utils = pytest.importorskip("diffusers.loaders.lora_conversion_utils")
save_file = pytest.importorskip("safetensors.torch").save_file
components = importlib.import_module("services.models.diffusers.components")
Tensor: TypeAlias = Any

RANK, ALPHA, SCALE = 2, 4.0, 0.75
QUERY = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
OUT = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_out.0"
CONVOLUTION = "down_blocks.1.resnets.0.conv1"


def matrices(weight: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """A (down) and B (up) for a weight."""
    generator = torch.Generator().manual_seed(seed)
    down = torch.randn(RANK, *weight.shape[1:], generator=generator)
    up = torch.randn(weight.shape[0], RANK, *[1] * (weight.dim() - 2), generator=generator)
    return down * 0.3, up * 0.3


def expected(weight: Tensor, seed: int) -> Tensor:
    down, up = matrices(weight, seed)
    return weight + SCALE * ALPHA / RANK * (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)


def kohya(prefix: str, layer: str, weight: Tensor, seed: int) -> dict[str, Tensor]:
    down, up = matrices(weight, seed)
    name = f"{prefix}_{layer.replace('.', '_')}"
    return {
        f"{name}.lora_down.weight": down,
        f"{name}.lora_up.weight": up,
        f"{name}.alpha": torch.tensor(ALPHA),
    }


def saved(
    tmp_path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None
) -> tuple[Lora, ...]:
    file = tmp_path / "change.safetensors"
    save_file(tensors, file, metadata)
    return (Lora(path=str(file), scale=SCALE),)


@pytest.fixture(scope="module")
def original() -> Any:
    return components.load(inspect(directory("sdxl")), "unet")


@pytest.fixture
def unet(original: Any) -> Any:
    return deepcopy(original)


def check(unet: Any, original: Any, *layers: str) -> None:
    """The layers changed as written out, and nothing else did."""
    before, after = original.state_dict(), unet.state_dict()
    for seed, layer in enumerate(layers):
        torch.testing.assert_close(after[f"{layer}.weight"], expected(before[f"{layer}.weight"], seed))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"{layer}.weight" for layer in layers}


def test_kohyas_names(unet: Any, original: Any, tmp_path: Path) -> None:
    tensors: dict[str, Tensor] = {}
    for seed, layer in enumerate((QUERY, CONVOLUTION)):
        tensors |= kohya("lora_unet", layer, original.state_dict()[f"{layer}.weight"], seed)
    lora.read(saved(tmp_path, tensors), "unet")("unet", unet)
    check(unet, original, QUERY, CONVOLUTION)


@pytest.mark.parametrize(
    "endings",
    [
        ("lora_A.weight", "lora_B.weight"),
        ("lora_A.default.weight", "lora_B.default.weight"),
        ("lora.down.weight", "lora.up.weight"),
        ("lora_linear_layer.down.weight", "lora_linear_layer.up.weight"),
    ],
)
def test_the_names_of_diffusers_and_peft(
    unet: Any, original: Any, tmp_path: Path, endings: tuple[str, str]
) -> None:
    """Alpha from the file's own metadata, where PEFT keeps it."""
    tensors = {}
    for seed, layer in enumerate((QUERY, OUT)):
        for ending, matrix in zip(
            endings, matrices(original.state_dict()[f"{layer}.weight"], seed), strict=True
        ):
            tensors[f"unet.{layer}.{ending}"] = matrix
    metadata = {"lora_adapter_metadata": json.dumps({"unet.r": RANK, "unet.lora_alpha": ALPHA})}
    lora.read(saved(tmp_path, tensors, metadata), "unet")("unet", unet)
    check(unet, original, QUERY, OUT)


def test_the_names_of_attention_processors(unet: Any, original: Any, tmp_path: Path) -> None:
    tensors = {}
    for seed, layer in enumerate((QUERY, OUT)):
        attention, _, part = layer.removesuffix(".0").rpartition(".")
        down, up = matrices(original.state_dict()[f"{layer}.weight"], seed)
        tensors |= {
            f"unet.{attention}.processor.{part}_lora.down.weight": down,
            f"unet.{attention}.processor.{part}_lora.up.weight": up,
            f"unet.{layer}.alpha": torch.tensor(ALPHA),
        }
    lora.read(saved(tmp_path, tensors), "unet")("unet", unet)
    check(unet, original, QUERY, OUT)


def test_the_block_names_of_the_original_code(unet: Any, original: Any, tmp_path: Path) -> None:
    """Read as diffusers' own conversion reads them, for attention everywhere in the network."""
    names = {
        "input_blocks_3_1_transformer_blocks_0_attn1_to_q": QUERY,
        "middle_block_1_transformer_blocks_0_attn2_to_k": "mid_block.attentions.0.transformer_blocks.0.attn2.to_k",
        "output_blocks_0_1_proj_in": "up_blocks.0.attentions.0.proj_in",
        "output_blocks_1_1_transformer_blocks_0_ff_net_2": "up_blocks.0.attentions.1.transformer_blocks.0.ff.net.2",
    }
    tensors: dict[str, Tensor] = {}
    for seed, (name, layer) in enumerate(names.items()):
        tensors |= kohya("lora_unet", name, original.state_dict()[f"{layer}.weight"], seed)
    lora.read(saved(tmp_path, tensors), "unet")("unet", unet)
    check(unet, original, *names.values())
    mapped = lora_conversion_utils._maybe_map_sgm_blocks_to_diffusers(dict(tensors), original.config)
    # Its names still go through the attention processors of earlier versions.
    found = {lora_conversion_utils._convert_unet_lora_key(key.partition(".")[0]) for key in mapped}
    assert {name.replace(".processor", "").replace(".", "_") for name in found} == {
        layer.replace(".", "_") for layer in names.values()
    }


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("input_blocks_1_0_in_layers_2", "down_blocks.0.resnets.0.conv1"),
        ("input_blocks_3_0_emb_layers_1", "down_blocks.1.resnets.0.time_emb_proj"),
        ("input_blocks_2_0_op", "down_blocks.0.downsamplers.0.conv"),
        ("middle_block_2_out_layers_3", "mid_block.resnets.1.conv2"),
        ("output_blocks_1_2_conv", "up_blocks.0.upsamplers.0.conv"),
        ("output_blocks_2_0_skip_connection", "up_blocks.1.resnets.0.conv_shortcut"),
    ],
)
def test_the_convolutions_of_the_original_code(
    unet: Any, original: Any, tmp_path: Path, name: str, layer: str
) -> None:
    tensors = kohya("lora_unet", name, original.state_dict()[f"{layer}.weight"], 0)
    lora.read(saved(tmp_path, tensors), "unet")("unet", unet)
    check(unet, original, layer)


def test_what_is_not_understood_is_refused_by_name(unet: Any, original: Any, tmp_path: Path) -> None:
    weight = original.state_dict()[f"{QUERY}.weight"]
    loha = kohya("lora_unet", QUERY, weight, 0) | {"lora_unet_x.hada_w1_a": torch.zeros(1)}
    with pytest.raises(
        lora.LoraError, match=r"change\.safetensors: lora_unet_x\.hada_w1_a: no key of a LoRA"
    ):
        lora.read(saved(tmp_path, loha), "unet")
    with pytest.raises(lora.LoraError, match="unet has no down_blocks_9_to_q"):
        lora.read(saved(tmp_path, kohya("lora_unet", "down_blocks_9_to_q", weight, 0)), "unet")("unet", unet)
    with pytest.raises(lora.LoraError, match="do not make"):
        lora.read(saved(tmp_path, kohya("lora_unet", QUERY, weight[:, :8], 0)), "unet")("unet", unet)
    one = {key: value for key, value in kohya("lora_unet", QUERY, weight, 0).items() if "up" not in key}
    with pytest.raises(lora.LoraError, match="one of its two matrices is missing"):
        lora.read(saved(tmp_path, one), "unet")("unet", unet)
    check(unet, original)


@pytest.mark.parametrize(
    ("up", "down"),
    [
        ((6, 2), (3, 4)),  # two ranks
        ((6, 0), (0, 4)),  # none
        ((5, 2), (2, 4)),
        ((6, 2), (2, 5)),
        ((4, 2), (2, 6)),  # as many numbers, the other way round
        ((12,), (2, 4)),
        ((6, 2), (8,)),
    ],
)
def test_matrices_of_any_shape_fit_or_are_refused(up: tuple[int, ...], down: tuple[int, ...]) -> None:
    change = lora.Change("unet", "to_q", False, down=torch.ones(down), up=torch.ones(up))
    with pytest.raises(ValueError, match="do not make"):
        change.delta((6, 4))


def test_an_alpha_of_several_numbers_is_none(tmp_path: Path) -> None:
    with pytest.raises(lora.LoraError, match="no key of a LoRA"):
        lora.read(saved(tmp_path, {"lora_unet_mid.alpha": torch.ones(3)}), "unet")


def test_a_network_that_the_pipeline_has_not(tmp_path: Path) -> None:
    tensors = kohya("lora_te3", "encoder.block.0.layer.0.SelfAttention.q", torch.zeros(4, 4), 0)
    merge = lora.read(saved(tmp_path, tensors), "unet")
    with pytest.raises(lora.LoraError, match="changes text_encoder_3, which this pipeline has not"):
        merge.finish()


@pytest.mark.timeout(300)  # two exports
def test_through_the_exported_graphs(tmp_path: Path) -> None:
    """SD3's second text encoder by kohya's name and its transformer by PEFT's: the graphs compute the changed weights."""
    found = inspect(directory("sd3"))
    encoder = recipe.encoders(found)[1]
    projection, attention = "text_model.encoder.layers.0.mlp.fc1", "transformer_blocks.0.attn.to_q"
    text, transformer = (components.load(found, name) for name in ("text_encoder_2", "transformer"))
    weights = text.get_submodule(projection).weight, transformer.get_submodule(attention).weight
    tensors = kohya("lora_te2", projection, weights[0].detach(), 0)
    down, up = matrices(weights[1].detach(), 1)
    tensors |= {
        f"transformer.{attention}.lora_A.weight": down,
        f"transformer.{attention}.lora_B.weight": up,
        f"transformer.{attention}.alpha": torch.tensor(ALPHA),
    }
    merge = lora.read(saved(tmp_path, tensors), "transformer")
    destination = tmp_path / "1"
    destination.mkdir()
    for make in (
        lambda: components.text_encoder(found, encoder, merge),
        lambda: components.denoiser(found, recipe.input_shapes(found), merge),
    ):
        export(
            make,
            destination,
            precision=Precision.FP32,
            tolerance=lambda name: 1e-4,
            report=lambda stage: None,
        )
    merge.finish()
    for name, weight, seed, make in (
        ("text_encoder_2", weights[0], 0, lambda change: components.text_encoder(found, encoder, change)),
        (
            "transformer",
            weights[1],
            1,
            lambda change: components.denoiser(found, recipe.input_shapes(found), change),
        ),
    ):

        def by_hand(
            _: str, network: Any, weight: Tensor = weight, seed: int = seed, name: str = name
        ) -> None:
            layer = projection if name == "text_encoder_2" else attention
            network.get_submodule(layer).weight.data = expected(weight.detach(), seed)

        changed, plain = make(by_hand), make(components.unchanged)
        example = changed.examples[0]
        with torch.inference_mode():
            wanted, before = (
                each.module.eval()(*(example[key] for key in each.inputs)) for each in (changed, plain)
            )
        wanted, before = (each[0] if isinstance(each, tuple) else each for each in (wanted, before))
        served = load(destination, name, threads=1).run(
            {key: value.numpy() for key, value in example.items()}
        )
        assert np.abs(served[changed.outputs[0]] - wanted.numpy()).max() < 1e-4
        assert np.abs(before.numpy() - wanted.numpy()).max() > 1e-2
