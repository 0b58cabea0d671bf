"""The catalogue's schema, and that it agrees with what the models themselves enforce."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml

from services.models.catalogue import (
    CATALOGUE_DIRECTORY,
    CatalogueError,
    get_model,
    read_catalogue,
    read_entry,
)
from services.models.entry import Residency, Task
from services.models.presence import REPOSITORY

PINNED = {
    "text_embedding",
    "text_to_image_house",
    "upscale_realesrgan",
    "nsfw_open_nsfw",
    "nsfw_nsfwjs",
    "face_detection_centerface",
    "image_text_matcher",
    "text_detection",
    "text_recognition",
}


WHEEL = {
    "kind": "package",
    "package": "a",
    "version": "1",
    "wheel": "a-1-py3-none-any.whl",
    "sha256": "0" * 64,
    "files": [{"path": "x", "sha256": "0" * 64}],
}


def write(directory: Path, /, **changes: object) -> Path:
    entry = yaml.safe_load((CATALOGUE_DIRECTORY / "nsfw_open_nsfw.yaml").read_text())
    path = directory / "nsfw_open_nsfw.yaml"
    path.write_text(yaml.safe_dump(entry | changes))
    return path


def test_every_template_has_an_entry_and_every_entry_a_template() -> None:
    templates = {path.name for path in REPOSITORY.iterdir() if (path / "config.pbtxt").is_file()}
    assert {model.template for model in read_catalogue().values()} == templates


def test_the_models_that_every_mesh_starts_with_are_pinned_and_no_other_is() -> None:
    pinned = {
        name
        for name, model in read_catalogue().items()
        if model.residency is Residency.PINNED and not model.optional
    }
    assert pinned == PINNED


@pytest.mark.parametrize("name", sorted(PINNED))
def test_the_configuration_carries_the_entrys_name_and_batch_limit(name: str) -> None:
    config = (REPOSITORY / name / "config.pbtxt").read_text()
    assert f'name: "{name}"' in config
    batch = get_model(name).limits.get("batch")
    (declared,) = re.findall(r"max_batch_size: (\d+)", config)
    assert int(declared) == (batch.maximum if batch else 0)


@pytest.fixture(scope="module")
def sampler() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sampler", REPOSITORY / "text_to_image_house/1/sampler.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["sampler"] = module
    spec.loader.exec_module(module)
    return module


def test_the_house_models_limits_are_those_it_enforces(sampler: ModuleType) -> None:
    limits = get_model("text_to_image_house").limits
    assert limits["steps"].maximum == sampler.MAX_STEPS
    assert limits["guidance_scale"].maximum == sampler.MAX_GUIDANCE
    assert limits["num_images"].maximum == sampler.MAX_IMAGES
    assert limits["width"].maximum == limits["height"].maximum == sampler.SIZE


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
def test_no_guidance_scale_lets_the_negative_prompt_be_drawn(sampler: ModuleType, scale: float) -> None:
    """Safety reads the negative prompt as what to avoid, so it must never be what is drawn."""
    words, pooled = np.zeros((2, 12, 384), np.float32), np.array([[0.0] * 384, [1.0] * 384], np.float32)
    seen: list[float] = []

    def predict(z: Any, t: Any, words: Any, pooled: Any) -> Any:
        seen.extend(pooled[:, 0])
        return z

    list(
        sampler.denoise(
            sampler.Drawing("an apple", "what is unsafe", (1,), 4, scale, 0), words, pooled, predict
        )
    )
    assert seen == [0.0] * 4


def test_tasks_are_typed() -> None:
    assert get_model("text_to_image_house").task is Task.TEXT_TO_IMAGE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"memory_mib": 0}, "memory_mib: Input should be greater than 0"),
        ({"memroy_mib": 1}, "memroy_mib: Extra inputs are not permitted"),
        ({"name": "other"}, "name: 'other' must equal the file's name, 'nsfw_open_nsfw'"),
        ({"task": "juggling"}, "task: Input should be"),
        ({"residency": "sometimes"}, "residency: Input should be 'pinned' or 'on-demand'"),
        ({"precisions": []}, "precisions: Tuple should have at least 1 item"),
        ({"precisions": ["fp32", "fp32"]}, "precisions: must not hold anything twice"),
        ({"tolerance": 0}, "Input should be greater than 0"),
        ({"tolerance": {"fp16": 1e-2}}, "tolerance: must hold fp32, as precisions does"),
        ({"sizes": [[32, 64]]}, "sizes.0.0: Input should be greater than or equal to 64"),
        (
            {"profiles": {"unet": {"x": {"min": [2], "opt": [1], "max": [4]}}}},
            "must not decrease on any axis",
        ),
        ({"profiles": {"unet": {"x": {"min": [2], "opt": [2, 3], "max": [4]}}}}, "must have as many axes"),
        ({"source": {"kind": "operator", "layout": "diffusers", "hub": "a/b"}}, "optional: must be true"),
        (
            {"source": {"kind": "random", "of": "sdxl"}},
            "optional: must be true for a source of kind 'random'",
        ),
        (
            {
                "source": {
                    "kind": "npm",
                    "package": "../x",
                    "version": "1.0.0",
                    "sha256": "0" * 64,
                    "files": [],
                }
            },
            "source.npm.package: String should match pattern",
        ),
        (
            {"source": WHEEL | {"package": "--index-url=x"}},
            "source.package.package: String should match pattern",
        ),
        ({"source": WHEEL | {"version": "1/../../x"}}, "source.package.version: String should match pattern"),
        ({"source": {"kind": "hub"}}, "source: Input tag 'hub'"),
        (
            {"source": {"kind": "repository", "files": [{"path": "../x"}]}},
            "must be a relative path without '..'",
        ),
        ({"limits": {"batch": {"minimum": 2, "maximum": 1}}}, "minimum 2.0 is above maximum 1.0"),
        (
            {"defaults": {"steps": 5}, "limits": {"steps": {"minimum": 1, "maximum": 4}}},
            "defaults.steps = 5 is outside [1, 4]",
        ),
    ],
)
def test_a_wrong_entry_names_the_field_and_the_rule(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(CatalogueError) as caught:
        read_entry(write(tmp_path, **changes))
    assert message in str(caught.value)
    assert "nsfw_open_nsfw.yaml" in str(caught.value)


def test_a_file_that_is_no_yaml_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("{")
    with pytest.raises(CatalogueError, match="cannot be read"):
        read_entry(tmp_path / "a.yaml")


def test_a_required_model_must_exist(tmp_path: Path) -> None:
    write(tmp_path, requires=["absent"])
    with pytest.raises(CatalogueError, match="no model named 'absent'"):
        read_catalogue(directory=tmp_path)


@pytest.mark.parametrize("other", ["nsfw_open_nsfw", "other"])
def test_a_model_must_not_call_itself(tmp_path: Path, other: str) -> None:
    path = write(tmp_path, requires=[other])
    if other == "other":
        entry = yaml.safe_load(path.read_text()) | {"name": "other", "requires": ["nsfw_open_nsfw"]}
        (tmp_path / "other.yaml").write_text(yaml.safe_dump(entry))
    with pytest.raises(CatalogueError, match=rf"requires: '{other}' calls it in turn"):
        read_catalogue(directory=tmp_path)


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(CatalogueError, match=r"there are: .*image_text_matcher, .*nsfw_open_nsfw"):
        get_model("juggler")
