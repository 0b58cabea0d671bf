"""Weights that whoever runs the mesh brings: is all of it there, is it what was published, does it stay in its folder.

A copy is not made; graphs are made from where the files lie. Where that was is remembered, so that a later build need
not be told again.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.models.digests import remembered_sha256
from services.models.entry import Layout, Lora, Model, OperatorSource, Precision
from services.models.weights import SUFFIXES, check_file

INDEX = "model_index.json"
MODEL_CONFIG = "config.json"
COMPONENT = re.compile(r"[A-Za-z_]\w{0,63}")
READ = (*SUFFIXES, ".json", ".txt", ".model")
LEAST_BYTES = (
    64  # any checkpoint has more; fewer is a pointer that was not followed or a download that was cut
)


class WeightsError(Exception):
    """Weights that were brought cannot be used; the text says which file, why, and what to do next."""


@dataclass(frozen=True)
class Brought:
    """What a model was built from the last time."""

    weights: Path
    precision: Precision
    loras: tuple[Lora, ...] = ()


def remember(model: Model, weights: Path, home: Path) -> None:
    """Note where a model's weights lie, and how they were built."""
    note = _note(model, home)
    note.parent.mkdir(parents=True, exist_ok=True)
    fresh = note.with_name(f".{note.name}.{os.getpid()}")
    loras = [lora.model_dump() for lora in model.loras]
    told = {"weights": str(weights.resolve()), "precision": model.precision, "loras": loras}
    fresh.write_text(json.dumps(told) + "\n", encoding="utf-8")
    fresh.replace(note)


def remembered(model: Model, home: Path) -> Brought | None:
    """Return what a model was built from the last time, if that is still there."""
    try:
        told = json.loads(_note(model, home).read_text(encoding="utf-8"))
        loras = tuple(Lora.model_validate(lora) for lora in told["loras"])
        last = Brought(Path(told["weights"]), Precision(told["precision"]), loras)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return last if last.weights.exists() else None


def check(source: OperatorSource, weights: Path, home: Path) -> None:
    """Look at weights before anything is made of them.

    Raises WeightsError naming every file that is missing, the file whose digest is wrong and the link that leads out of
    the directory, and UnsafeFileError for a file that is damaged or wants to run something.
    """
    if source.layout is Layout.CHECKPOINT:
        _check_checkpoint(source, weights)
    else:
        _check_directory(weights)
        absent = [file.path for file in source.files if not (weights / file.path).is_file()]
        if absent:
            raise WeightsError(f"{weights}: {', '.join(absent)} missing; {source.hub} holds it")
    for path in files_of(source, weights):
        _check_inside(path, weights)
    named = {file.path: file.sha256 for file in source.files if file.sha256}
    for name, wanted in named.items():
        path = weights if source.layout is Layout.CHECKPOINT else weights / name
        digest = remembered_sha256(path, home / "weights" / "digests")
        if digest != wanted:
            raise WeightsError(
                f"{path}: has sha256 {digest}, the catalogue says {wanted}: it is another file than the one published "
                f"at {source.hub}, or its download was cut short; fetch it again"
            )
    for path in files_of(source, weights):
        if path.suffix in SUFFIXES:
            check_file(path)


def check_loras(model: Model) -> None:
    """Look at the low-rank changes that a model is built with. Raises WeightsError and UnsafeFileError."""
    for lora in model.loras:
        if not Path(lora.path).is_file():
            raise WeightsError(f"{lora.path}: is not there any more; name the change anew with --lora")
        check_file(Path(lora.path))


def files_of(source: OperatorSource, weights: Path) -> list[Path]:
    """Return every file that a build may read, sorted."""
    if source.layout is Layout.CHECKPOINT:
        return [weights]
    folders = [weights / name for name in components(weights)]
    parts = (path for folder in folders for path in folder.glob("*") if path.suffix in READ)
    return [weights / INDEX, *sorted(parts)]


def components(weights: Path) -> dict[str, tuple[str, str]]:
    """Return a diffusers directory's components: name -> (library, class). Raises WeightsError."""
    try:
        index = json.loads((weights / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{weights / INDEX}: cannot be read: {error}") from error
    if not isinstance(index, dict) or "_class_name" not in index:
        raise WeightsError(f"{weights / INDEX}: names no pipeline (`_class_name`)")
    pairs = {name: value for name, value in index.items() if isinstance(value, list) and len(value) == 2}
    for name in pairs:
        if not COMPONENT.fullmatch(name):
            raise WeightsError(f"{weights / INDEX}: {name!r} is no name of a component")
    return {name: (str(value[0]), str(value[1])) for name, value in pairs.items() if value[0] and value[1]}


def _check_checkpoint(source: OperatorSource, weights: Path) -> None:
    if not weights.is_file():
        what = "is a folder" if weights.is_dir() else "is not there"
        raise WeightsError(f"{weights}: {what}; give the checkpoint file that {source.hub} publishes")
    if weights.suffix not in SUFFIXES:
        raise WeightsError(f"{weights}: is no checkpoint; one ends in {', '.join(SUFFIXES)}")
    if weights.stat().st_size < LEAST_BYTES:
        raise WeightsError(
            f"{weights}: has {weights.stat().st_size} bytes, no checkpoint has; fetch it again"
        )


def _check_directory(weights: Path) -> None:
    if not weights.is_dir():
        what = "is a file" if weights.is_file() else "is not there"
        raise WeightsError(f"{weights}: {what}; give a diffusers directory, which holds {INDEX}")
    if not (weights / INDEX).is_file():
        raise WeightsError(f"{weights}: {INDEX} missing, so it is no diffusers directory")
    missing = [
        name
        for component, (library, kind) in components(weights).items()
        for name in _missing_of(weights / component, component, library, kind)
    ]
    if missing:
        raise WeightsError(f"{weights}: {', '.join(missing)} missing; was the download cut short?")


def _missing_of(folder: Path, component: str, library: str, kind: str) -> Iterator[str]:
    """Yield what a component lacks, as paths within the directory."""
    if not folder.is_dir():
        yield f"{component}/"
    elif kind.endswith("Scheduler"):
        if not (folder / "scheduler_config.json").is_file():
            yield f"{component}/scheduler_config.json"
    elif library in ("diffusers", "transformers") and not kind.endswith(
        ("Tokenizer", "TokenizerFast", "Processor", "Extractor", "FeatureExtractor")
    ):
        if not (folder / MODEL_CONFIG).is_file():
            yield f"{component}/{MODEL_CONFIG}"
        if not any(path.suffix in SUFFIXES for path in folder.glob("*")):
            yield f"{component}/*.safetensors"
        for index in folder.glob("*.index.json"):
            yield from (f"{component}/{name}" for name in _shards(index) if not (folder / name).is_file())


def _shards(index: Path) -> list[str]:
    try:
        mapping: Mapping[str, Any] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return sorted({str(name) for name in mapping.values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{index}: cannot be read: {error!r}") from error


def _check_inside(path: Path, weights: Path) -> None:
    """Refuse a link that leads out of what was named: it could read anything on the machine into a model."""
    root = weights.resolve() if weights.is_dir() else weights.resolve().parent
    # A hub's cache keeps snapshots/<revision>/ as links to blobs/ beside it, all below one models--<org>--<name>/.
    if root.parent.name == "snapshots" and root.parents[1].name.startswith("models--"):
        root = root.parents[1]
    target = path.resolve()
    if not target.is_relative_to(root):
        raise WeightsError(f"{path}: is a link to {target}, outside {root}; put the file itself there")


def _note(model: Model, home: Path) -> Path:
    return home / "weights" / "operator" / f"{model.name}.json"
