"""The pure parts of served video: requests, the picture's preparation, prompts, and that old frames are not held back."""

import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from services.models.presence import REPOSITORY

CODE = REPOSITORY / "video_diffusers" / "1"
SERVING = ("noise", "schedulers")
RULES: dict[str, Any] = {
    "required": ["image", "seed", "steps", "guidance_scale", "frames"],
    "defaults": {"fps": 7},
    "limits": {"steps": [1, 100], "guidance_scale": [0, 30], "frames": [1, 25], "fps": [2, 30]},
    "sizes": [[1024, 576], [576, 1024], [512, 512]],
    "frames_per_latent": 4,
}


@pytest.fixture(scope="module")
def code() -> Iterator[dict[str, ModuleType]]:
    """The modules as they lie in a build: beside one another, with the serving modules."""
    paths = {name: CODE.parents[2] / "services/models/serving" / f"{name}.py" for name in SERVING}
    paths |= {name: CODE / f"{name}.py" for name in ("clip", "picture", "svd", "wan")}
    before = {name: sys.modules.get(name) for name in paths}
    found = {}
    for name, path in paths.items():
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec
        assert spec.loader
        found[name] = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found[name])
    yield found
    for name, module in before.items():
        sys.modules.pop(name)
        if module:
            sys.modules[name] = module


def given(**changes: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "image": np.zeros((300, 500, 3), np.uint8),
        "seed": np.array([5], np.int64),
        "steps": np.array([4], np.int32),
        "guidance_scale": np.array([3.0], np.float32),
        "frames": np.array([9], np.int32),
    }
    return {name: value for name, value in (usual | changes).items() if value is not None}


def test_a_request_is_read_with_its_defaults(code: dict[str, ModuleType]) -> None:
    clip = code["clip"].read_clip(given(), RULES)
    assert (clip.seed, clip.steps, clip.guidance_scale, clip.frames, clip.fps) == (5, 4, 3.0, 9, 7)
    assert clip.prompt is None


@pytest.mark.parametrize(
    ("shape", "size"), [((576, 1024), (1024, 576)), ((900, 300), (576, 1024)), ((400, 401), (512, 512))]
)
def test_without_a_size_the_nearest_in_shape(
    code: dict[str, ModuleType], shape: tuple[int, int], size: tuple[int, int]
) -> None:
    image = np.zeros((*shape, 3), np.uint8)
    assert code["clip"].read_clip(given(image=image), RULES).size == size


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"steps": None}, "steps: is required"),
        ({"steps": np.array([4, 5])}, "steps: must hold one value; 2 given"),
        ({"steps": np.array([], np.int32)}, "steps: must hold one value; 0 given"),
        ({"frames": np.array([8])}, "frames: must be one more than a multiple of 4; 8 given"),
        ({"fps": np.array([1])}, "fps: must be 2 to 30; 1 given"),
        ({"guidance_scale": np.array([np.nan])}, "guidance_scale: must be 0 to 30; nan given"),
        ({"prompt": "a fox"}, "prompt: is not taken by this model; it takes image, seed"),
        ({"size": np.array([512, 513])}, "size: must be one of 1024x576, 576x1024, 512x512; 512x513 given"),
        (
            {"image": np.zeros((31, 500, 3), np.uint8)},
            "image: must be 32 to 4096 pixels a side; 500x31 given",
        ),
    ],
)
def test_what_breaks_a_rule_is_named(code: dict[str, ModuleType], changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule.replace("(", r"\(")):
        code["clip"].read_clip(given(**changes), RULES)


def noise_picture(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize("shape", [(40, 64), (224, 224), (225, 300), (576, 1024), (1200, 900)])
def test_the_picture_for_clip_is_diffusers_own(code: dict[str, ModuleType], shape: tuple[int, int]) -> None:
    import torch
    from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import (
        _resize_with_antialiasing,
    )

    image, mean, deviation = noise_picture(*shape), [0.48, 0.46, 0.41], [0.27, 0.26, 0.28]
    unit = torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)[None]
    small = (_resize_with_antialiasing(unit * 2 - 1, (224, 224)) + 1) / 2
    expected = (small.numpy() - np.reshape(mean, (1, 3, 1, 1))) / np.reshape(deviation, (1, 3, 1, 1))
    ours = code["picture"].for_clip(image, 224, mean, deviation)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(64, 40), (96, 64)])
def test_the_picture_for_the_vae_is_diffusers_own(code: dict[str, ModuleType], size: tuple[int, int]) -> None:
    from diffusers.video_processor import VideoProcessor
    from PIL import Image

    image = noise_picture(40, 64)
    expected = VideoProcessor(vae_scale_factor=8).preprocess(
        Image.fromarray(image), height=size[1], width=size[0]
    )
    np.testing.assert_array_equal(code["picture"].for_vae(image, size), expected.numpy())


@pytest.mark.parametrize(
    "prompt", ["a  fox", " fish &amp;amp; chips\n", "日本の桜", "", "&lt;b&gt; \t x", "a b"]
)
def test_prompts_are_cleaned_as_wans_are(code: dict[str, ModuleType], prompt: str) -> None:
    from diffusers.pipelines.wan.pipeline_wan import prompt_clean

    assert code["wan"].clean(prompt) == prompt_clean(prompt)


def test_pixels_are_rounded_as_diffusers_rounds(code: dict[str, ModuleType]) -> None:
    frames = np.array([-1.5, -1, -0.5, 0, 0.004, 1, 1.5], np.float32).reshape(1, 1, 1, 7).repeat(3, 1)
    assert code["clip"].to_pixels(frames)[0, 0, :, 0].tolist() == [0, 0, 64, 128, 128, 255, 255]


class Network:
    """Answers zeros of the right shape, and counts."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.fed = answer, []

    def run(self, feed: dict[str, Any]) -> dict[str, Any]:
        self.fed.append(feed)
        return self.answer(feed)


def test_nothing_is_computed_beyond_what_was_asked_of_it(code: dict[str, ModuleType]) -> None:
    """Between two events lies at most one network call, so a request that is cancelled costs at most that."""
    decoder = Network(lambda feed: {"frames": np.zeros((len(feed["latents"]), 3, 64, 64), np.float32)})
    graphs = {
        "image_encoder": Network(lambda feed: {"image_embeds": np.zeros((1, 1, 8), np.float32)}),
        "vae_encoder": Network(lambda feed: {"latents": np.zeros((1, 4, 8, 8), np.float32)}),
        "unet": Network(lambda feed: {"output": feed["sample"][:, :, :4]}),
        "vae_decoder": decoder,
    }
    pipeline = {
        "image": {"side": 224, "mean": [0.5] * 3, "deviation": [0.5] * 3},
        "scheduler": {"_class_name": "EulerDiscreteScheduler", "prediction_type": "v_prediction"},
    }
    told = {"fps": 7, "motion_bucket_id": 127, "noise_aug_strength": 0.02, "min_guidance_scale": 1.0}
    clip = code["clip"].Clip(
        seed=1, steps=2, guidance_scale=3.0, frames=5, size=(64, 64), decode_chunk_size=2,
        image=noise_picture(64, 64), **told,
    )  # fmt: skip
    calls, counts = [], []
    for event in code["svd"].animate(clip, pipeline, graphs):
        counts.append(sum(len(graph.fed) for graph in graphs.values()))
        calls.append(type(event).__name__)
    steps = ["NoneType", "NoneType", "Stepped"]
    assert calls == ["NoneType", *steps, *steps, "Decoded", "Decoded", "Decoded"]
    assert max(np.diff([0, *counts])) <= 2  # the picture's two encoders' calls are the only pair
    assert [len(feed["latents"]) for feed in decoder.fed] == [2, 2, 1]
    ids = graphs["unet"].fed[0]["time_ids"]
    np.testing.assert_array_equal(ids, np.array([[6, 127, 0.02]], np.float32))
