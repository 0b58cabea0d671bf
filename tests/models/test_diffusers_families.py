"""Every family and every scheduler against diffusers' own pipelines, by the code that Triton runs, in this process."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from shutil import copyfile, copytree
from typing import Any

import numpy as np
import pytest
from skimage import data

from services.models.catalogue import get_model
from services.models.diffusers import convert, export
from services.models.parity import verify
from tests.models.diffusers_fixture import (
    Pipeline,
    built,
    compare,
    directory,
    generators,
    pictures,
    pipeline,
    serving_code,
)

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

PROMPT, NEGATIVE = "a lighthouse in a storm, oil on canvas", "blurry, grey"
FAMILIES = ("sdxl", "sdxl-refiner", "stable-diffusion", "sd3", "flux")
pytestmark = pytest.mark.timeout(600)  # the first session exports what is compared
Served = Callable[[str], Pipeline]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """Make a built family's pipeline, with its own modules."""
    with ExitStack() as stack:

        def make(of: str) -> Pipeline:
            code = built(f"{of}-test") / f"{of}-test" / "1"
            return at(code, stack)

        yield make


def at(code: Path, stack: ExitStack) -> Pipeline:
    described = json.loads((code / "pipeline.json").read_text())
    return Pipeline(code, described, stack.enter_context(serving_code(code)))


def scheduled(made: Pipeline, scheduler: Any) -> Pipeline:
    """The same pipeline under another scheduler."""
    config = {**scheduler.config, "_class_name": type(scheduler).__name__}
    stages = [stage | {"scheduler": config} for stage in made.description["stages"]]
    return Pipeline(made.directory, made.description | {"stages": stages}, made.modules)


@pytest.mark.parametrize(
    ("scheduler", "options"),
    [
        ("DDIMScheduler", {}),
        ("DPMSolverMultistepScheduler", {}),
        ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
        ("EulerDiscreteScheduler", {"use_karras_sigmas": True}),
    ],
)
def test_stable_diffusion(
    served: Served, capsys: pytest.CaptureFixture[str], scheduler: str, options: dict[str, Any]
) -> None:
    pipe = pipeline("stable-diffusion")
    pipe.scheduler = getattr(diffusers, scheduler).from_config(pipe.scheduler.config, **options)
    made = scheduled(served("stable-diffusion"), pipe.scheduler)
    got = made.draw(
        prompt=PROMPT,
        negative_prompt=NEGATIVE,
        seeds=(3, 4),
        steps=8,
        guidance_scale=7.5,
        width=192,
        height=128,
    )
    expected = pictures(
        pipe,
        prompt=[PROMPT] * 2,
        negative_prompt=[NEGATIVE] * 2,
        num_inference_steps=8,
        guidance_scale=7.5,
        width=192,
        height=128,
        generator=generators(3, 4),
    )
    compare(got, expected, f"stable-diffusion, {scheduler} {options or ''}", capsys)


@pytest.mark.parametrize("true_cfg_scale", [1.0, 3.0])
def test_flux(served: Served, capsys: pytest.CaptureFixture[str], true_cfg_scale: float) -> None:
    """Guidance as a number, and the true one with a negative prompt; a shift that depends on the size."""
    asked = {"prompt": PROMPT, "negative_prompt": NEGATIVE, "true_cfg_scale": true_cfg_scale}
    got = served("flux").draw(**asked, seeds=(5,), steps=4, guidance_scale=3.5, width=128, height=192)
    expected = pictures(
        pipeline("flux"),
        **asked,
        num_inference_steps=4,
        guidance_scale=3.5,
        width=128,
        height=192,
        generator=generators(5),
    )
    compare(got, expected, f"flux, true guidance {true_cfg_scale:g}", capsys)


def photograph() -> Any:
    return np.asarray(data.astronaut()[:128, 180:308], np.uint8)  # type: ignore[no-untyped-call]


def test_the_refiner_on_a_photograph(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    got = served("sdxl-refiner").draw(
        prompt=PROMPT,
        seeds=(6, 7),
        steps=10,
        guidance_scale=5.0,
        width=128,
        height=128,
        image=photograph(),
        strength=0.4,
    )
    expected = pictures(
        pipeline("sdxl-refiner"),
        prompt=[PROMPT] * 2,
        image=Image.fromarray(photograph()),
        strength=0.4,
        num_inference_steps=10,
        guidance_scale=5.0,
        generator=generators(6, 7),
    )
    compare(got, expected, "sdxl-refiner, strength 0.4", capsys)


def test_base_and_refiner(
    served: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A directory that holds `refiner/`: the base draws four fifths, the refiner the rest. Their graphs are at hand."""
    graphs = {"": served("sdxl").directory, "refiner_": served("sdxl-refiner").directory}

    def copied(make: Callable[[], export.Component], destination: Path, **_: Any) -> None:
        name = make().name
        prefix = "refiner_" if name.startswith("refiner_") else ""
        copyfile(graphs[prefix] / f"{name.removeprefix(prefix)}.onnx", destination / f"{name}.onnx")

    monkeypatch.setattr(convert, "export", copied)
    both = tmp_path / "weights"
    copytree(directory("sdxl"), both)
    copytree(directory("sdxl-refiner"), both / "refiner")
    code = tmp_path / "build" / "1"
    copytree(graphs[""], code, ignore=lambda _, names: [name for name in names if not name.endswith(".py")])
    entry = get_model("sdxl").model_copy(update={"sizes": ((128, 128),)})
    convert.convert(entry, both, code, lambda stage: None)
    description = json.loads((code / "pipeline.json").read_text())
    assert [stage["denoiser"] for stage in description["stages"]] == ["unet", "refiner_unet"]
    base, refiner = pipeline("sdxl"), pipeline("sdxl-refiner")
    refiner = diffusers.StableDiffusionXLImg2ImgPipeline(
        **refiner.components | {"vae": base.vae}, **refiner_options()
    )
    refiner.set_progress_bar_config(disable=True)
    asked = {"prompt": PROMPT, "negative_prompt": NEGATIVE, "guidance_scale": 5.0}
    latents = base(
        **asked,
        num_inference_steps=10,
        width=128,
        height=128,
        generator=generators(9),
        denoising_end=0.8,
        output_type="latent",
    ).images
    expected = pictures(refiner, **asked, num_inference_steps=10, denoising_start=0.8, image=latents)
    with ExitStack() as stack:
        got = at(code, stack).draw(**asked, seeds=(9,), steps=10, width=128, height=128)
    compare(got, expected, "sdxl, base and refiner", capsys)
    alone = served("sdxl").draw(**asked, seeds=(9,), steps=10, width=128, height=128)
    assert (
        np.abs(alone.astype(int) - got).mean() > 0.2
    )  # the refiner counts: four times what may be apart above


def refiner_options() -> dict[str, bool]:
    return {"requires_aesthetics_score": True, "force_zeros_for_empty_prompt": False}


def test_every_component_of_every_family_is_its_module(capsys: pytest.CaptureFixture[str]) -> None:
    """The table of `vmesh models verify`, without torch."""
    for family in FAMILIES:
        for parity in verify(built(f"{family}-test") / f"{family}-test"):
            with capsys.disabled():
                print(
                    f"\n{family:17} {parity.component:15} {parity.error:.1e} of {parity.tolerance:.0e}",
                    end="",
                )
            assert parity.passed
            assert parity.reference == f"PyTorch {torch.__version__}"
