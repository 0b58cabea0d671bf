"""Reading diffusers directories: what is supported, what is missing, how prompts are cut, and what serving imports."""

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from tokenizers import Tokenizer

from services.models.catalogue import get_model
from services.models.diffusers import convert, recipe, tokenizers
from services.models.diffusers.directory import DirectoryError, inspect
from services.models.diffusers.export import Component, ExportError, export
from services.models.entry import Precision
from services.models.parity import ParityError
from tests.models.diffusers_fixture import directory

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("diffusers")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(copytree(directory("sdxl"), tmp_path / "weights"))


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def edit_index(weights: Path, **changes: object) -> None:
    edit(weights / "model_index.json", **changes)


def test_what_a_directory_holds() -> None:
    found = inspect(directory("sdxl"))
    assert (found.pipeline, found.family.name) == ("StableDiffusionXLPipeline", "sdxl")
    assert found.components["text_encoder_2"] == ("transformers", "CLIPTextModelWithProjection")
    assert found.scheduler()["_class_name"] == "EulerDiscreteScheduler"
    assert found.options["force_zeros_for_empty_prompt"] is True


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (
            lambda path: edit_index(path, _class_name="KandinskyPipeline"),
            "KandinskyPipeline is not supported; supported are",
        ),
        (lambda path: (path / "model_index.json").unlink(), "give a diffusers directory"),
        (lambda path: (path / "model_index.json").write_text("{"), "cannot be read"),
        (lambda path: (path / "unet" / "config.json").unlink(), "unet/config.json missing"),
        (
            lambda path: (path / "scheduler" / "scheduler_config.json").unlink(),
            "scheduler_config.json missing",
        ),
        (lambda path: edit_index(path, vae=[None, None]), "vae (in model_index.json)"),
        (
            lambda path: (path / "vae" / "diffusion_pytorch_model.safetensors").rename(
                path / "vae" / "model.bin"
            ),
            "vae/*.safetensors (other formats may run code when they are read) missing",
        ),
    ],
)
def test_a_directory_that_will_not_do(copy: Path, spoil: Callable[[Path], object], rule: str) -> None:
    spoil(copy)
    with pytest.raises(DirectoryError) as caught:
        inspect(copy)
    assert rule in str(caught.value)


@pytest.mark.parametrize(
    ("file", "changes", "rule"),
    [
        ("unet/config.json", {"in_channels": 9}, "in_channels: must be 4, as many as latents have; 9 given"),
        ("unet/config.json", {"time_cond_proj_dim": 256}, "latent consistency models are not supported"),
        (
            "scheduler/scheduler_config.json",
            {"_class_name": "LMSDiscreteScheduler"},
            "_class_name: must be Euler",
        ),
        (
            "scheduler/scheduler_config.json",
            {"use_beta_sigmas": True},
            "use_beta_sigmas: must be False; True given",
        ),
    ],
)
def test_what_could_be_exported_but_not_drawn_with(
    copy: Path, file: str, changes: dict[str, object], rule: str
) -> None:
    edit(copy / file, **changes)
    with pytest.raises(DirectoryError) as caught:
        recipe.check(inspect(copy), 30, [(128, 128)])
    assert rule in str(caught.value)


@pytest.mark.parametrize(("of", "multiple"), [("sdxl", 16), ("sd3", 16), ("flux", 16)])
def test_sizes_that_a_denoiser_cannot_halve(of: str, multiple: int) -> None:
    recipe.check(inspect(directory(of)), 30, [(128, 112)])
    with pytest.raises(DirectoryError, match=f"sizes: must be multiples of {multiple}; 128x120 given"):
        recipe.check(inspect(directory(of)), 30, [(128, 128), (128, 120)])


def test_the_scheduler_that_stable_diffusion_is_published_with_has_a_stand_in(copy: Path) -> None:
    edit(copy / "scheduler/scheduler_config.json", _class_name="PNDMScheduler", skip_prk_steps=True)
    found = inspect(copy)
    recipe.check(found, 30, [(128, 128)])
    assert recipe.stage(found)["scheduler"]["_class_name"] == "DPMSolverMultistepScheduler"


def test_another_family_than_the_entrys(tmp_path: Path) -> None:
    with pytest.raises(
        DirectoryError, match=r"holds a StableDiffusion3Pipeline, which is sd3; sdxl serves sdxl"
    ):
        convert.convert(get_model("sdxl"), directory("sd3"), tmp_path, lambda stage: None)


@pytest.mark.parametrize(
    ("of", "tokenizer", "tokens"),
    [
        ("sdxl", "tokenizer", 77),
        ("sdxl", "tokenizer_2", 77),
        ("sd3", "tokenizer_3", 256),
        ("flux", "tokenizer_2", 512),
    ],
)
def test_prompts_are_cut_as_transformers_cuts_them(
    of: str, tokenizer: str, tokens: int, tmp_path: Path
) -> None:
    """Empty, emoji, long and the others of PROMPTS; padded with what the tokenizer pads with, `!` for SDXL's second."""
    found = inspect(directory(of))
    tokenizers.convert(found, tokenizer, tokens, tmp_path)
    own = getattr(transformers, found.components[tokenizer][1]).from_pretrained(found.path / tokenizer)
    made = Tokenizer.from_file(str(tmp_path / f"{tokenizer}.json"))
    for prompt in (*tokenizers.PROMPTS, "ein Leuchtturm im Sturm 🌊", "word " * 600):
        expected = own(prompt, padding="max_length", max_length=tokens, truncation=True).input_ids
        assert made.encode(prompt).ids == expected
        assert len(expected) == tokens
    if tokenizer == "tokenizer":
        assert made.encode("a cat").ids[:4] == [49406, 320, 2368, 49407]  # OpenAI's own ids
    if (of, tokenizer) == ("sdxl", "tokenizer_2"):
        assert made.encode("a cat").ids[-1] == 0


def test_t5_from_sentencepieces_file_alone(tmp_path: Path) -> None:
    weights = Path(copytree(directory("sd3"), tmp_path / "weights"))
    folder = weights / "tokenizer_3"
    by_json = json.loads((folder / "tokenizer.json").read_text())
    model = importlib.import_module("transformers.utils.sentencepiece_model_pb2_new").ModelProto()
    for piece, score in by_json["model"]["vocab"]:
        model.pieces.add(piece=piece, score=score)
    (folder / "tokenizer.json").unlink()
    (folder / "spiece.model").write_bytes(model.SerializeToString())
    tokenizers.convert(inspect(weights), "tokenizer_3", 256, tmp_path)
    tokenizers.convert(inspect(directory("sd3")), "tokenizer_3", 256, tmp_path, "json_")
    made, expected = (
        Tokenizer.from_file(str(tmp_path / f"{name}.json")) for name in ("tokenizer_3", "json_tokenizer_3")
    )
    for prompt in ("", "a cat on a roof", "naïve 🐱 words"):
        assert made.encode(prompt).ids == expected.encode(prompt).ids


def test_sd3_without_its_t5(copy: Path, tmp_path: Path) -> None:
    weights = Path(copytree(directory("sd3"), tmp_path / "sd3"))
    edit_index(weights, text_encoder_3=[None, None], tokenizer_3=[None, None])
    found = inspect(weights)
    assert [encoder.component for encoder in recipe.encoders(found)] == ["text_encoder", "text_encoder_2"]
    assert recipe.stage(found)["encoder_hidden_states"][1] == {"encoders": [], "tokens": 256, "width": 80}


class Doubled(torch.nn.Module):  # type: ignore[misc]
    """Takes away at the traced size what it does at another: a graph of it is wrong elsewhere."""

    def forward(self, x: Any) -> Any:
        rows = torch.sym_int(x.shape[0]) if torch.compiler.is_exporting() else x.shape[0]
        return x * (2.0 if rows < 100 else 3.0)


def test_a_graph_that_differs_is_refused(tmp_path: Path) -> None:
    """Both examples count: the second one shows that a branch was frozen."""

    def make() -> Component:
        examples = [{"x": torch.ones(4, 3)}, {"x": torch.ones(200, 3)}]
        return Component("doubled", Doubled(), ("x",), ("y",), examples)

    destination = tmp_path / "1"
    destination.mkdir()
    with pytest.raises(ParityError, match="doubled"):
        export(
            make,
            destination,
            precision=Precision.FP32,
            tolerance=lambda name: 1e-3,
            report=lambda stage: None,
        )


def test_a_precision_that_only_engines_have(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="precision: must be fp32 or fp16; fp8 given"):
        export(
            lambda: pytest.fail("not made"),
            tmp_path,
            precision=Precision.FP8,
            tolerance=lambda name: 1e-3,
            report=lambda stage: None,
        )


def test_what_serves_imports_no_torch() -> None:
    """The converters' table, the catalogue, the servers: none of them may pay for a library that only builds need."""
    modules = (
        "services.models.service, services.models.build, services.models.diffusers.backend, router.service"
    )
    code = f"import sys, {modules}; print([name for name in ('torch', 'diffusers', 'transformers') if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
