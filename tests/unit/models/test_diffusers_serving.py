"""What serves diffusers pipelines, as functions: plans of steps, conditioning, previews."""

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from services.models.assemble import SERVING
from services.models.diffusers import preview
from services.models.presence import REPOSITORY
from services.models.serving.schedulers import scheduler

CODE = REPOSITORY / "text_to_image_diffusers" / "1"
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
EULER = {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading", "steps_offset": 1} | BETAS
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}
DDIM = {"_class_name": "DDIMScheduler", "clip_sample": False} | BETAS
DPM = {"_class_name": "DPMSolverMultistepScheduler"} | BETAS
Load = Callable[[str], ModuleType]


@pytest.fixture
def code(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """The template's modules, which import one another and the serving modules by their bare names."""
    names = {file.stem for directory in (CODE, SERVING) for file in directory.glob("*.py")}
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(SERVING))
    monkeypatch.syspath_prepend(str(CODE))
    yield import_module
    for name in names:
        sys.modules.pop(name, None)


def stage(**changes: Any) -> dict[str, Any]:
    """A stage of pipeline.json."""
    return {
        "denoiser": "unet",
        "start": 0.0,
        "encoder_hidden_states": [{"encoders": ["one", "two"], "tokens": 3, "width": 5}],
        "pooled": ["two"],
        "time_ids": "size",
        "guidance": "classifier-free",
        "empty_negative": "zeros",
        "patch": 1,
        "sigmas": None,
        "scheduler": EULER,
    } | changes


def pipeline(*stages: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"stages": list(stages), "latents": {"channels": 4, "factor": 8}, "from_image": False} | changes


def drawing(code: Load, **changes: Any) -> Any:
    asked = {"prompt": "a cat", "negative_prompt": "", "seeds": (1, 2), "steps": 10, "guidance_scale": 5.0}
    return code("drawing").Drawing(**asked | {"width": 64, "height": 32} | changes)


def encode(name: str, text: str) -> dict[str, NDArray[np.float32]]:
    """States of width 1 and 2, filled with the prompt's length."""
    width = {"one": 1, "two": 2}[name]
    return {
        "states": np.full((1, 3, width), len(text), np.float32),
        "pooled": np.full((1, width), len(text), np.float32),
    }


def test_two_stages_share_the_schedule_where_diffusers_cuts_it(code: Load) -> None:
    """Ten steps, eight of the base: timesteps 901 ... 201, then 101 and 1 (denoising_end = denoising_start = 0.8)."""
    steps = code("denoise").plan(pipeline(stage(), stage(start=0.8)), drawing(code))
    assert [step.stage for step in steps] == [0] * 8 + [1] * 2
    assert [int(step.scheduler.timesteps[step.index]) for step in steps] == [*range(901, 0, -100)]
    assert steps[0].scheduler is not steps[-1].scheduler


@pytest.mark.parametrize("strength", [np.nan, np.inf, -np.inf, 0.0, -0.5, 0.05, 1.5])
def test_a_strength_that_is_none_is_refused_by_name(code: Load, strength: float) -> None:
    limits = {"num_images": 2, "steps": 50, "guidance_scale": 30}
    told = pipeline(stage(), from_image=True, limits=limits, sizes=[[64, 64]])
    image = np.zeros((64, 64, 3), np.uint8)
    asked = drawing(code, strength=strength, image=image, height=64)
    with pytest.raises(ValueError, match=r"^strength: must "):
        code("drawing").check(asked, told)


def test_a_strength_in_fp32_leaves_the_steps_that_diffusers_leaves(code: Load) -> None:
    for tenths in range(1, 11):
        strength = code("drawing").decimal(np.float32(tenths / 10))
        assert code("denoise").skipped(drawing(code, strength=strength)) == 10 - tenths


@pytest.mark.parametrize(("strength", "left"), [(0.3, 3), (1.0, 10), (0.19, 1)])
def test_a_picture_to_start_from_makes_steps_needless(code: Load, strength: float, left: int) -> None:
    steps = code("denoise").plan(pipeline(stage(), from_image=True), drawing(code, strength=strength))
    assert [step.index for step in steps] == list(range(10 - left, 10))


def test_a_request_has_schedulers_of_its_own(code: Load) -> None:
    first, second = (code("denoise").plan(pipeline(stage()), drawing(code)) for _ in range(2))
    assert first[0].scheduler is not second[0].scheduler


def test_encoders_are_joined_and_padded(code: Load) -> None:
    blocks = [
        {"encoders": ["one", "two"], "tokens": 3, "width": 5},
        {"encoders": [], "tokens": 4, "width": 5},  # SD3 without its T5
    ]
    told = code("conditioning").condition(stage(encoder_hidden_states=blocks), encode, "a cat", (64, 32), 5.0)
    assert told["encoder_hidden_states"].shape == (1, 7, 5)
    np.testing.assert_array_equal(told["encoder_hidden_states"][0, 0], [5, 5, 5, 0, 0])
    assert not told["encoder_hidden_states"][0, 3:].any()
    np.testing.assert_array_equal(told["pooled"], [[5, 5]])
    np.testing.assert_array_equal(told["time_ids"], [[32, 64, 0, 0, 32, 64]])
    assert "guidance" not in told


def test_an_empty_negative_prompt_is_nothing_where_the_pipeline_says_so(code: Load) -> None:
    condition = code("conditioning").condition
    nothing = condition(stage(), encode, "", (64, 32), 5.0, negative=True)
    assert not nothing["encoder_hidden_states"].any()
    assert not nothing["pooled"].any()
    assert nothing["time_ids"].any()
    avoided = condition(stage(), encode, "grey", (64, 32), 5.0, negative=True)
    assert avoided["pooled"].all()


def test_the_refiner_is_told_scores_and_flux_its_guidance(code: Load) -> None:
    condition = code("conditioning").condition
    refiner = stage(time_ids="aesthetic")
    assert condition(refiner, encode, "a", (64, 32), 5.0)["time_ids"][0, 4] == 6.0
    assert condition(refiner, encode, "a", (64, 32), 5.0, negative=True)["time_ids"][0, 4] == 2.5
    flux = stage(time_ids=None, guidance="embedded")
    np.testing.assert_array_equal(condition(flux, encode, "a", (64, 32), 3.5)["guidance"], [3.5])


@pytest.mark.parametrize(
    ("guidance", "negative_prompt", "expected"),
    [("classifier-free", "", 5.0), ("embedded", "grey", 2.0), ("embedded", "", 1.0), ("none", "grey", 2.0)],
)
def test_which_number_guides(code: Load, guidance: str, negative_prompt: str, expected: float) -> None:
    asked = drawing(code, negative_prompt=negative_prompt, true_cfg_scale=2.0)
    assert code("denoise").guidance_of(stage(guidance=guidance), asked) == expected


def test_guidance_leads_away_from_the_negative_prompt(code: Load) -> None:
    """One Euler step with a denoiser that answers 1 for the prompt and 0 for the other: an output of 5."""
    asked = drawing(code, steps=1)
    positive = {"encoder_hidden_states": np.ones((1, 3, 5), np.float32)}
    negative = {"encoder_hidden_states": np.zeros((1, 3, 5), np.float32)}
    seen: list[dict[str, NDArray[Any]]] = []

    def predict(denoiser: str, feed: dict[str, NDArray[Any]]) -> NDArray[Any]:
        seen.append(feed)
        return np.ones_like(feed["sample"]) * feed["encoder_hidden_states"].max((1, 2))[:, None, None, None]

    description = pipeline(stage())
    denoise = code("denoise")
    steps = denoise.plan(description, asked)
    x = denoise.begin(description, asked, steps[0])
    ((after, clean),) = denoise.denoise(description, asked, steps, x, [(positive, negative)], predict)
    sigma = steps[0].scheduler.sigmas[0]
    np.testing.assert_allclose(after, x - 5 * sigma, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(clean, after, rtol=1e-5, atol=1e-5)
    assert seen[0]["sample"].shape == (4, 4, 4, 8)
    np.testing.assert_array_equal(seen[0]["timestep"], np.full(4, steps[0].scheduler.timesteps[0]))


@pytest.mark.parametrize("config", [EULER, DDIM, DPM, FLOW])
def test_the_clean_sample_is_found_in_the_noised_one(config: dict[str, Any]) -> None:
    """Given the output that is right: the noise, or for a flow the way from the sample to it."""
    made = scheduler(config, 6)
    generator = np.random.default_rng(0)
    clean, noise = generator.standard_normal((2, 1, 4, 4, 4), np.float32)
    output = noise - clean if config is FLOW else noise
    for i in (0, 3, 5):
        found = made.clean(output, i, made.add_noise(clean, noise, i))
        np.testing.assert_allclose(found, clean, atol=2e-4)


def test_previews_are_fitted_to_the_decoder(code: Load, tmp_path: Path) -> None:
    """A decoder that is linear is found again, and its pictures are the preview's, shrunk."""
    weights = np.array([[0.1, 0.2, -0.1], [0.0, -0.2, 0.1], [0.2, 0.0, 0.0], [-0.1, 0.1, 0.1]], np.float32)
    bias = np.array([0.1, -0.1, 0.0], np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["latents", "weights", "bias"], ["small"]),
            helper.make_node("Resize", ["small", "", "scales"], ["image"], mode="nearest"),
        ],
        "decoder",
        [helper.make_tensor_value_info("latents", TensorProto.FLOAT, ["b", 4, "h", "w"])],
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["b", 3, "H", "W"])],
        [
            numpy_helper.from_array(weights.T[:, :, None, None].copy(), "weights"),
            numpy_helper.from_array(bias, "bias"),
            numpy_helper.from_array(np.array([1, 1, 8, 8], np.float32), "scales"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.save(model, tmp_path / "vae_decoder.onnx")
    fitted = preview.fit(tmp_path, 4)
    np.testing.assert_allclose(fitted["weights"], weights, atol=1e-4)
    np.testing.assert_allclose(fitted["bias"], bias, atol=1e-4)
    latents = np.random.default_rng(1).standard_normal((2, 4, 3, 5), np.float32)
    shown = code("denoise").preview({"preview": fitted}, latents)
    colours = np.einsum("bchw,cr->bhwr", latents, weights) + bias
    assert shown.shape == (2, 3, 5, 3)
    assert np.abs(shown - np.clip((colours + 1) * 127.5, 0, 255)).max() < 1


def test_pixels_are_rounded_as_diffusers_rounds(code: Load) -> None:
    levels = np.array([-2, -1, 0, 0.5, 1, 2], np.float32).reshape(1, 1, 1, 6).repeat(3, 1)
    assert code("denoise").to_pixels(levels)[0, 0, :, 0].tolist() == [0, 0, 128, 191, 255, 255]
