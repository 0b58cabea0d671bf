"""Which code turns which sources into what is served; each is imported only when something has to be built."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from typing import TypeAlias

from services.models.entry import Converter, Model

PACKAGE = "services.models"
IMPORT = re.compile(
    r"^\s*(?:from|import) (services\.models[\w.]*)(?: import (\([^)]*\)|[^\n]+))?", re.MULTILINE
)
EXPORT = ("torch", "onnxscript", "safetensors")
DIFFUSERS = (*EXPORT, "diffusers", "transformers")

Report: TypeAlias = Callable[[str], None]
Convert: TypeAlias = Callable[[Model, Path, Path, Report], None]


class ConverterError(Exception):
    """A model cannot be converted on this machine; the text says what is missing and how to get it."""


@dataclass(frozen=True)
class Conversion:
    """A converter: `module:function`, and the distributions of the `export` extra that it needs."""

    function: str
    needs: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        """The module's full name."""
        return self.function.partition(":")[0]


CONVERTERS: Mapping[Converter, Conversion] = {
    Converter.ONNX: Conversion("services.models.convert_onnx:convert"),
    Converter.COPY: Conversion("services.models.convert_onnx:copy"),
    Converter.MINILM: Conversion("services.models.convert_minilm:convert"),
    Converter.LLAMA: Conversion("services.models.convert_llama:convert"),
    Converter.NCNN: Conversion("services.models.convert_ncnn:convert"),
    Converter.TFJS: Conversion("services.models.convert_tfjs:convert"),
    Converter.DIFFUSERS: Conversion("services.models.diffusers.convert:convert", DIFFUSERS),
    Converter.DIFFUSERS_VIDEO: Conversion("services.models.diffusers.video:convert", DIFFUSERS),
}

# The converter `checkpoint` knows an architecture by its entry's family.
CHECKPOINTS: Mapping[str, Conversion] = {
    "centerface": Conversion("services.models.convert_centerface:convert"),
    "image-classifier": Conversion("services.models.convert_classifier:convert"),
    "gfpgan": Conversion("services.models.convert_faces:convert_gfpgan", DIFFUSERS),
    "ppocr": Conversion("services.models.convert_ppocr:convert"),
    "realesrgan": Conversion("services.models.convert_realesrgan:convert", DIFFUSERS),
    "rife": Conversion("services.models.convert_rife:convert", DIFFUSERS),
    "codeformer": Conversion("services.models.convert_faces:convert_codeformer", DIFFUSERS),
}


def conversion_of(model: Model) -> Conversion:
    """Return what converts a model. Raises ConverterError for a checkpoint of a family that nothing knows."""
    if model.converter is not Converter.CHECKPOINT:
        return CONVERTERS[model.converter]
    if model.family not in CHECKPOINTS:
        known = ", ".join(sorted(CHECKPOINTS)) or "none"
        raise ConverterError(
            f"no architecture is called {model.family!r}; checkpoints are known for: {known}"
        )
    return CHECKPOINTS[model.family]


def check_libraries(model: Model) -> None:
    """Raise ConverterError when a distribution that the model's converter needs is missing."""
    missing = [name for name in conversion_of(model).needs if _version(name) is None]
    if missing:
        raise ConverterError(
            f"{model.name} needs {', '.join(missing)} to be exported: pip install 'visual-mesh[export]'"
        )


def converter_of(model: Model) -> Convert:
    """Import and return a model's converter.

    It is called with (model, sources, destination, report). `sources` is where the files of the model's source lie: a
    folder of them by their last names, or what `--weights` named; an empty folder for random weights and for none.
    `destination` is the build's `1/`, with the code that serves it. It writes `<component>.onnx` for each component,
    records each with `parity.record`, and writes whatever else `model.py` reads. Raises ConverterError when a
    distribution is missing.
    """
    check_libraries(model)
    module, _, name = conversion_of(model).function.partition(":")
    function: Convert = getattr(import_module(module), name)
    return function


def versions(model: Model) -> Iterator[str]:
    """Yield name=version of every library that has a part in what a model's converter makes."""
    for name in ("onnx", "onnxruntime", *conversion_of(model).needs):
        yield f"{name}={_version(name)}"


def code_of(model: Model) -> list[Path]:
    """Files of the model's converter: its module and all of the model plane that it imports, sorted."""
    found: dict[str, Path] = {}
    waiting = [conversion_of(model).module]
    while waiting:
        module = waiting.pop()
        spec = None if module in found else _find(module)
        if spec:
            found[module] = spec
            waiting += _imports(spec)
    # The schema and this table decide nothing that an entry's own digest does not hold.
    return sorted(path for module, path in found.items() if module not in (f"{PACKAGE}.entry", __name__))


@cache
def _imports(path: Path) -> tuple[str, ...]:
    """Return every module of the model plane that a file imports, wherever in the file; names in modules come along."""
    found = []
    for module, names in IMPORT.findall(path.read_text(encoding="utf-8")):
        found += [module, *(f"{module}.{name}" for name in re.findall(r"\w+", names))]
    return tuple(found)


def _find(module: str) -> Path | None:
    """Return a module's file without importing it; None where the name is a thing inside a module, or the package."""
    path = Path(__file__).parents[2].joinpath(*module.split("."))
    if module == PACKAGE:
        return None
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@cache
def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
