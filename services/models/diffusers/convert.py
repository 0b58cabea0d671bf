"""A diffusers directory -> the graphs, tokenizers and `pipeline.json` that `text_to_image_diffusers` serves.

A folder `refiner/` in the directory, itself a diffusers directory of SDXL's refiner, draws the last fifth.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from services.models.converters import Report
from services.models.diffusers import preview, recipe, tokenizers
from services.models.diffusers.backend import backend
from services.models.diffusers.directory import Directory, DirectoryError, inspect
from services.models.diffusers.export import ALONE, export
from services.models.entry import Model, Precision, RandomSource
from services.models.serving.graph import load

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.models.diffusers.components import Change
    from services.models.diffusers.export import Component

REFINER = "refiner"
REFINER_START = 0.8  # of the schedule, as its authors use it (arXiv 2307.01952, section 2.5)
BPE = "bpe_simple_vocab_16e6.txt.gz"


def convert(model: Model, sources: Path, destination: Path, report: Report) -> None:
    """Write the model's files into `destination` and `backend.yaml` beside it.

    Raises DirectoryError, LoraError, TokenizerError, ExportError and ParityError.
    """
    # One pipeline at a time: each fills the memory, and the libraries do not bear being imported by two threads.
    with ALONE, TemporaryDirectory() as scratch:
        if isinstance(model.source, RandomSource):
            from services.models.diffusers.random_weights import write_random

            report("drawing random weights")
            bpe, sources = sources / BPE, Path(scratch) / "pipeline"
            write_random(model.source.of, model.source.seed, bpe, sources)
        _convert(model, sources, destination, report)


def _convert(model: Model, sources: Path, destination: Path, report: Report) -> None:
    directory = inspect(sources)
    if directory.family.name != model.family:
        raise DirectoryError(
            f"{sources}: holds a {directory.pipeline}, which is {directory.family.name}; {model.name} serves "
            f"{model.family}"
        )
    parts = [("", directory)]
    if (sources / REFINER).is_dir():
        parts.append((f"{REFINER}_", inspect(sources / REFINER)))
    pipeline = _describe(model, parts)
    published = directory.scheduler()["_class_name"]
    if published in recipe.STAND_INS:
        report(f"{published} is not served, {recipe.STAND_INS[published]} stands in for it")
    for prefix, part in parts:
        _export(model, part, prefix, destination, report)
    report("fitting previews and timing a step")
    pipeline["preview"] = preview.fit(destination, pipeline["latents"]["channels"])
    pipeline["seconds_per_step"] = _seconds_per_step(pipeline, parts[0][1], destination)
    (destination / "pipeline.json").write_text(json.dumps(pipeline, indent=1) + "\n", encoding="utf-8")
    if not pipeline["from_image"]:
        np.savez(destination / "warmup.npz", **_warm_up(pipeline))
        entry = yaml.safe_dump(backend(model, pipeline), sort_keys=False)
        (destination.parent / "backend.yaml").write_text(entry, encoding="utf-8")


def _warm_up(pipeline: dict[str, Any]) -> "dict[str, NDArray[Any]]":
    """Return the tensors of the cheapest request: one step of the smallest picture, which runs every graph once."""
    return {
        "prompt": np.array([b"warm-up"]),
        "seeds": np.array([0], np.int64),
        "steps": np.array([1], np.int32),
        "guidance_scale": np.array([pipeline["defaults"]["guidance_scale"]], np.float32),
        "size": np.array(min(pipeline["sizes"], key=np.prod), np.int32),
    }


def _describe(model: Model, parts: list[tuple[str, Directory]]) -> dict[str, Any]:
    """Return pipeline.json, but for what is measured on the graphs."""
    main = parts[0][1]
    for _, part in parts:
        recipe.check(part, int(model.defaults["steps"]), model.sizes)
    encoders = {
        prefix + encoder.component: {
            "tokenizer": f"{prefix}{encoder.tokenizer}.json",
            "tokens": recipe.tokens_of(part, encoder),
        }
        for prefix, part in parts
        for encoder in recipe.encoders(part)
    }
    stages = [
        recipe.stage(part, prefix) | {"start": REFINER_START if prefix else 0.0} for prefix, part in parts
    ]
    networks = [*encoders, *(stage["denoiser"] for stage in stages), "vae_decoder"]
    return {
        "family": main.family.name,
        "pipeline": main.pipeline,
        "from_image": main.family.from_image,
        "components": networks + ["vae_encoder"] * main.family.from_image,
        "encoders": encoders,
        "stages": stages,
        "latents": {
            "channels": recipe.latent_channels(main),
            "factor": recipe.pixels_per_latent(main),
        },
        "sizes": [list(size) for size in model.sizes],
        "defaults": model.defaults,
        "limits": {name: int(limit.maximum) for name, limit in model.limits.items()},
    }


def _export(model: Model, directory: Directory, prefix: str, destination: Path, report: Report) -> None:
    from services.models.diffusers import lora

    for encoder in recipe.encoders(directory):
        tokens = recipe.tokens_of(directory, encoder)
        tokenizers.convert(directory, encoder.tokenizer, tokens, destination, prefix)
    # A refiner is another network; changes are made for the base.
    merge = lora.read(() if prefix else model.loras, directory.family.denoiser)

    def named(make: Callable[[], "Component"]) -> "Component":
        component = make()
        return replace(component, name=prefix + component.name)

    networks = _networks(directory, merge)
    pictures = () if prefix else _autoencoders(directory)
    for make, precision in [
        *((make, model.precision) for make in networks),
        # As diffusers does: what lies between latents and pictures overflows in FP16 (SDXL's decoder).
        *((make, Precision.FP32) for make in pictures),
    ]:
        export(
            partial(named, make),
            destination,
            precision=precision,
            tolerance=model.tolerance_of,
            report=report,
        )
    merge.finish()


def _networks(directory: Directory, change: "Change") -> Iterator[Callable[[], "Component"]]:
    """Yield a function for each text encoder, and for the denoiser."""
    from services.models.diffusers import components

    for encoder in recipe.encoders(directory):
        yield partial(components.text_encoder, directory, encoder, change)
    yield partial(components.denoiser, directory, recipe.input_shapes(directory), change)


def _autoencoders(directory: Directory) -> Iterator[Callable[[], "Component"]]:
    """Yield a function for each network between latents and pictures."""
    from services.models.diffusers import components

    yield partial(components.vae_decoder, directory)
    if directory.family.from_image:
        yield partial(components.vae_encoder, directory)


def _seconds_per_step(pipeline: dict[str, Any], directory: Directory, destination: Path) -> float:
    """Return how long the denoiser takes for one picture of the first size, with guidance: the better of two runs."""
    stage = pipeline["stages"][0]
    rows = 2 if stage["guidance"] == "classifier-free" else 1
    width, height = (edge // pipeline["latents"]["factor"] for edge in pipeline["sizes"][0])
    shapes = {"sample": (pipeline["latents"]["channels"], height, width), "timestep": ()}
    shapes |= recipe.input_shapes(directory)
    feed = {name: np.ones((rows, *shape), np.float32) for name, shape in shapes.items()}
    graph = load(destination, stage["denoiser"], threads=0)
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        graph.run(feed)
        seconds.append(time.perf_counter() - started)
    return round(min(seconds), 6)
