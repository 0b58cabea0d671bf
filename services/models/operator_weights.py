"""Weights that whoever runs the mesh brings: is all of it there, is it what was published, does it stay in its folder.

A copy is not made; graphs are made from where the files lie. Where that was is remembered, so that a later build need
not be told again.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from services.models.digests import remembered_sha256
from services.models.entry import Layout, Lora, Model, OperatorSource, Precision
from services.models.weights import SAFETENSORS, SUFFIXES, check_file

INDEX = "model_index.json"
SHARDS = re.compile(r".*\.safetensors\.index(\.\w+)?\.json")
"""A file that says which of a component's tensors are in which of its files; a variant has a name of its own."""
COMPONENT = re.compile(r"[A-Za-z_]\w{0,63}")
READ = (SAFETENSORS, ".json", ".txt", ".model")
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
    """Look at weights before anything is made of them; what each component must hold is its converter's to check.

    Raises WeightsError naming every file of the entry that is missing, the file whose digest is wrong and the link that
    leads out of the directory, and UnsafeFileError for a file that is damaged or wants to run something.
    """
    if source.layout is Layout.CHECKPOINT:
        _check_checkpoint(source, weights)
    else:
        _check_directory(source, weights)
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
        elif SHARDS.fullmatch(path.name):
            _check_shards(path)


def check_loras(model: Model) -> None:
    """Look at the low-rank changes that a model is built with. Raises WeightsError and UnsafeFileError."""
    for lora in model.loras:
        if not Path(lora.path).is_file():
            raise WeightsError(f"{lora.path}: is not there any more; name the change anew with --lora")
        check_file(Path(lora.path))


def files_of(source: OperatorSource, weights: Path) -> list[Path]:
    """Return every file that a build may read, sorted; of a directory's weights that is `.safetensors` alone."""
    if source.layout is Layout.CHECKPOINT:
        return [weights]
    if source.layout is Layout.FILES:
        return sorted(weights / file.path for file in source.files)
    # A pipeline may hold another, such as a refiner, in a folder of its own.
    roots = [weights, *(index.parent for index in weights.glob(f"*/{INDEX}"))]
    folders = [root / name for root in roots for name in components(root)]
    parts = (path for folder in folders for path in folder.glob("*") if path.suffix in READ)
    return sorted([*(root / INDEX for root in roots), *parts])


def components(weights: Path) -> list[str]:
    """Return the names of a diffusers directory's components. Raises WeightsError."""
    try:
        index = json.loads((weights / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{weights / INDEX}: cannot be read: {error}") from error
    if not isinstance(index, dict) or "_class_name" not in index:
        raise WeightsError(f"{weights / INDEX}: names no pipeline (`_class_name`)")
    names = [name for name, value in index.items() if isinstance(value, list)]
    for name in names:
        if not COMPONENT.fullmatch(name):
            raise WeightsError(f"{weights / INDEX}: {name!r} is no name of a component")
    return names


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


def _check_directory(source: OperatorSource, weights: Path) -> None:
    if not weights.is_dir():
        what = "is a file" if weights.is_file() else "is not there"
        raise WeightsError(f"{weights}: {what}; give the directory that {source.hub} publishes")
    wanted = [INDEX] if source.layout is Layout.DIFFUSERS else []
    wanted += [file.path for file in source.files]
    absent = [name for name in wanted if not (weights / name).is_file()]
    if absent:
        raise WeightsError(f"{weights}: {', '.join(absent)} missing; {source.hub} holds what belongs there")


def _check_inside(path: Path, weights: Path) -> None:
    """Refuse what is no file, and a link that leads out of what was named: it could read anything here into a model."""
    root = weights.resolve() if weights.is_dir() else weights.resolve().parent
    # A hub's cache keeps snapshots/<revision>/ as links to blobs/ beside it, all below one models--<org>--<name>/.
    if root.parent.name == "snapshots" and root.parents[1].name.startswith("models--"):
        root = root.parents[1]
    target = path.resolve()
    if not target.is_relative_to(root):
        raise WeightsError(f"{path}: is a link to {target}, outside {root}; put the file itself there")
    if not target.is_file():  # a pipe would be waited for without end
        raise WeightsError(f"{path}: is no file, or a link to none; fetch it again")


def _check_shards(index: Path) -> None:
    """Refuse an index that names what was not looked at: a file of another folder, or one that is a pickle."""
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        names = set(content["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{index}: names no files of weights: {error}") from error
    for name in sorted(map(str, names)):
        if Path(name).name != name or Path(name).suffix != SAFETENSORS:
            raise WeightsError(f"{index}: names {name!r}; its weights must be {SAFETENSORS} files beside it")


def _note(model: Model, home: Path) -> Path:
    return home / "weights" / "operator" / f"{model.name}.json"
