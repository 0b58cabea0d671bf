"""Random pipelines of every family, built once and kept, beside diffusers' own pipelines of the same weights.

Kept in a home of their own, so that the server of the other tests does not load them.
"""

import hashlib
import importlib
import logging
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer

from services.models.build import build_repository
from services.models.catalogue import read_catalogue
from services.models.diffusers import random_weights
from services.models.diffusers.convert import BPE
from services.models.entry import RandomSource
from services.models.presence import served_repository
from services.models.serving.graph import load
from services.models.sources import fetch
from tests.triton_fixture import BUILD_HOME

HOME = BUILD_HOME / "diffusers"
Image = NDArray[np.uint8]


def built(*models: str) -> Path:
    """The repository with these models in it; fails with the builder's own words."""
    failed = [outcome for outcome in build_repository(HOME, models) if not outcome.served]
    assert not failed, failed
    return served_repository(HOME)


@cache
def vocabulary() -> Path:
    """The package's file of CLIP's merges."""
    source = read_catalogue()["sdxl-test"].source
    assert isinstance(source, RandomSource)
    assert source.vocabulary
    return fetch(source.vocabulary, HOME) / BPE


def directory(of: str) -> Path:
    """The diffusers directory that `<of>-test` is built from: the same seed, so the same weights."""
    code = hashlib.sha256(Path(random_weights.__file__).read_bytes()).hexdigest()[:16]
    kept = HOME / "directories" / code / of
    if not kept.is_dir():
        fresh = kept.with_name(f".{of}")
        shutil.rmtree(fresh, ignore_errors=True)
        random_weights.write_random(of, 0, vocabulary(), fresh)
        fresh.rename(kept)
    return kept


@cache
def pipeline(of: str) -> Any:
    """Diffusers' own pipeline of those weights."""
    import diffusers
    import torch

    torch.set_num_threads(1)
    logging.getLogger("diffusers").setLevel(logging.ERROR)
    found = diffusers.DiffusionPipeline.from_pretrained(directory(of), local_files_only=True)
    found.set_progress_bar_config(disable=True)
    return found


def generators(*seeds: int) -> list[Any]:
    """What PyTorch draws an image's noise from."""
    import torch

    return [torch.Generator("cpu").manual_seed(seed) for seed in seeds]


def pictures(pipe: Any, **call: Any) -> Image:
    """UINT8 [B, H, W, 3], rounded as diffusers rounds."""
    images = pipe(**call, output_type="np").images
    return np.asarray((images * 255).round(), np.uint8)


@dataclass(frozen=True)
class Pipeline:
    """A built model run in this process by the modules that serve it, without Triton around them."""

    directory: Path
    description: dict[str, Any]
    modules: Callable[[str], ModuleType]

    def draw(self, **request: Any) -> Image:
        conditioning, denoise = self.modules("conditioning"), self.modules("denoise")
        drawing = self.modules("drawing").Drawing(**{"negative_prompt": ""} | request)
        self.modules("drawing").check(drawing, self.description)
        steps = denoise.plan(self.description, drawing)

        @cache
        def encode(name: str, text: str) -> Any:
            tokenizer = Tokenizer.from_file(
                str(self.directory / self.description["encoders"][name]["tokenizer"])
            )
            return self.run(name, {"input_ids": np.array([tokenizer.encode(text).ids], np.int64)})

        size, scale = (drawing.width, drawing.height), drawing.guidance_scale
        conditions = [
            (
                conditioning.condition(stage, encode, drawing.prompt, size, scale),
                conditioning.condition(stage, encode, drawing.negative_prompt, size, scale, negative=True)
                if denoise.guidance_of(stage, drawing) > 1
                else None,
            )
            for stage in self.description["stages"]
        ]

        def encode_image(image: NDArray[np.float32]) -> tuple[Any, Any]:
            found = self.run("vae_encoder", {"image": image})
            return found["mean"], found["deviation"]

        start = denoise.begin(self.description, drawing, steps[0], encode_image)
        predict = lambda name, feed: self.run(name, feed)["output"]  # noqa: E731
        for latents, _clean in denoise.denoise(self.description, drawing, steps, start, conditions, predict):
            last = latents
        return np.asarray(denoise.to_pixels(self.run("vae_decoder", {"latents": last})["image"]))

    def run(self, name: str, feed: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return graph(self.directory, name).run(feed)


@cache
def graph(directory: Path, name: str) -> Any:
    return load(directory, name, threads=1)


@contextmanager
def serving_code(directory: Path) -> Iterator[Callable[[str], ModuleType]]:
    """The modules of a build, which import one another by their bare names as they do within Triton."""
    names = {file.stem for file in directory.glob("*.py")}
    before = {name: sys.modules.pop(name) for name in names & sys.modules.keys()}
    sys.path.insert(0, str(directory))
    try:
        yield importlib.import_module
    finally:
        sys.path.remove(str(directory))
        for name in names & sys.modules.keys():
            del sys.modules[name]
        sys.modules.update(before)


def compare(served: Image, expected: Image, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    """At most two levels of 255 apart anywhere, and a twentieth of one on average; prints what was measured."""
    assert served.shape == expected.shape
    apart = np.abs(served.astype(int) - expected)
    with capsys.disabled():
        print(
            f"\n{what}: at most {apart.max()}/255 apart, {apart.mean():.5f} on average; spread {expected.std():.1f}"
        )
    assert expected.std() > 10  # a flat picture would agree with anything
    assert apart.max() <= 2
    assert apart.mean() < 0.05
