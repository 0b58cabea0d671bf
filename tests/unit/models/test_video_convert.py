"""What a video directory or its entry must not be: refused by name before anything is exported."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.models.catalogue import get_model
from services.models.diffusers.directory import DirectoryError
from services.models.diffusers.export import ExportError
from services.models.diffusers.video import convert
from services.models.entry import Model

WAN_FILES: dict[str, Any] = {
    "model_index.json": {
        "_class_name": "WanPipeline",
        "tokenizer": ["transformers", "T5TokenizerFast"],
        "text_encoder": ["transformers", "UMT5EncoderModel"],
        "transformer": ["diffusers", "WanTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLWan"],
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
    },
    "scheduler/scheduler_config.json": {
        "_class_name": "UniPCMultistepScheduler",
        "prediction_type": "flow_prediction",
        "use_flow_sigmas": True,
    },
    "transformer/config.json": {"patch_size": [1, 2, 2], "in_channels": 16},
    "vae/config.json": {"scale_factor_temporal": 4, "scale_factor_spatial": 8},
    "text_encoder/config.json": {},
    "tokenizer/tokenizer.json": {},
}


def write(directory: Path, **changes: dict[str, Any]) -> Path:
    """A directory without its weights' contents; `changes` are merged into files by their first word."""
    for name, content in WAN_FILES.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content | changes.get(name.split("/")[0].split(".")[0], {})))
    for component in ("transformer", "vae", "text_encoder"):
        (directory / component / "model.safetensors").touch()
    return directory


def convert_wan(directory: Path, **entry: Any) -> None:
    model = Model.model_validate(get_model("wan").model_dump() | entry)
    convert(model, directory, directory / "build", lambda stage: None)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        (
            {"scheduler": {"_class_name": "PNDMScheduler"}},
            "scheduler_config.json: _class_name: must be Euler",
        ),
        ({"scheduler": {"solver_type": "bh1"}}, "scheduler_config.json: solver_type: must be bh2; bh1 given"),
        ({"model_index": {"boundary_ratio": 0.875}}, "boundary_ratio: Wan 2.2 is not supported"),
        ({"model_index": {"expand_timesteps": True}}, "expand_timesteps: Wan 2.2 is not supported"),
    ],
)
def test_a_pipeline_that_is_not_supported(tmp_path: Path, changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(ExportError, match=rule):
        convert_wan(write(tmp_path, **changes))


@pytest.mark.parametrize(
    ("entry", "rule"),
    [
        ({"sizes": [[840, 480]]}, r"sizes: must be multiples of 16; \(840, 480\) given"),
        ({"sizes": []}, "sizes: is missing from the entry"),
        ({"limits": {}, "defaults": {}}, "limits.steps: is missing from the entry"),
        ({"loras": [{"path": "style.safetensors"}]}, "loras: are not merged into video pipelines"),
    ],
)
def test_an_entry_that_says_too_little_or_too_much(tmp_path: Path, entry: dict[str, Any], rule: str) -> None:
    with pytest.raises(ExportError, match=rule):
        convert_wan(write(tmp_path), **entry)


def test_another_familys_directory(tmp_path: Path) -> None:
    with pytest.raises(DirectoryError, match="holds a WanPipeline, which is wan; wan serves svd"):
        convert_wan(write(tmp_path), family="svd")


def test_a_picture_pipeline_is_no_video(tmp_path: Path) -> None:
    changes = {"model_index": {"_class_name": "StableDiffusionXLPipeline"}}
    with pytest.raises(
        DirectoryError, match="StableDiffusionXLPipeline is not supported; supported are Stable"
    ):
        convert_wan(write(tmp_path, **changes))
