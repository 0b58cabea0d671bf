"""Reading a diffusers directory: which pipeline it holds, of what components, and whether all of it is there."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.models.diffusers.families import FAMILIES, Family

INDEX = "model_index.json"
SCHEDULER = "scheduler/scheduler_config.json"
VARIANT = "fp16"


class DirectoryError(Exception):
    """A directory that cannot be exported; the text says what is wrong with it and what would do."""


@dataclass(frozen=True)
class Directory:
    """A diffusers directory that was looked at.

    `components` maps a name to its (library, class); `options` are the pipeline's own, such as
    `force_zeros_for_empty_prompt`.
    """

    path: Path
    pipeline: str
    family: Family
    components: Mapping[str, tuple[str, str]]
    options: Mapping[str, Any]

    def config(self, component: str) -> dict[str, Any]:
        """Return a network's `config.json`."""
        return _read(self.path / component / "config.json")

    def scheduler(self) -> dict[str, Any]:
        """Return the scheduler's configuration."""
        return _read(self.path / SCHEDULER)

    def variant(self, component: str) -> str | None:
        """Return "fp16" where a component's weights are there in that variant alone."""
        names = [file.name for file in (self.path / component).glob("*.safetensors")]
        return VARIANT if all(f".{VARIANT}." in name or f".{VARIANT}-" in name for name in names) else None


def inspect(path: Path, families: Iterable[Family] = FAMILIES) -> Directory:
    """Look at a diffusers directory. Raises DirectoryError: not one, a pipeline of no such family, missing files."""
    index = _read(path / INDEX)
    pipeline = str(index.get("_class_name"))
    known = {name: family for family in families for name in family.pipelines}
    if pipeline not in known:
        raise DirectoryError(
            f"{path / INDEX}: {pipeline} is not supported; supported are {', '.join(sorted(known))}"
        )
    pairs = {name: value for name, value in index.items() if isinstance(value, list) and len(value) == 2}
    components = {name: (value[0], value[1]) for name, value in pairs.items() if value[0] and value[1]}
    options = {name: value for name, value in index.items() if name not in pairs and not name.startswith("_")}
    found = Directory(path, pipeline, known[pipeline], components, options)
    if missing := _missing(found):
        raise DirectoryError(f"{path}: {', '.join(missing)} missing; was the download cut short?")
    return found


def _missing(directory: Directory) -> list[str]:
    """Name what the export would look for in vain; encoders that the index leaves out are not among it."""
    family = directory.family
    needed = [family.denoiser, "vae", *(each.component for each in family.encoders if not each.optional)]
    absent = [f"{name} (in {INDEX})" for name in needed if name not in directory.components]
    files = [SCHEDULER]
    for encoder in family.encoders:
        if encoder.component in directory.components:
            needed.append(encoder.component)
            if not any((directory.path / encoder.tokenizer).glob("*.json")):
                absent.append(f"{encoder.tokenizer}/*.json")
    for name in dict.fromkeys(needed):
        files.append(f"{name}/config.json")
        weights = directory.path / name
        if not any(weights.glob("*.safetensors")):
            absent.append(f"{name}/*.safetensors (other formats may run code when they are read)")
        for index in weights.glob("*.safetensors.index.json"):
            files += sorted({f"{name}/{shard}" for shard in _read(index).get("weight_map", {}).values()})
    return [*absent, *(file for file in files if not (directory.path / file).is_file())]


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DirectoryError(f"{path} missing; give a diffusers directory, which holds {INDEX}") from None
    except (OSError, ValueError) as error:
        raise DirectoryError(f"{path}: cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise DirectoryError(f"{path}: must hold an object")
    return value
