"""The catalogue: one checked entry per model, read from `catalogue/<model>.yaml` and from `<home>/catalogue/`.

An entry says where a model's weights come from, under which licence, how they become a servable
graph, and which values its requests may carry. It is data: nothing here touches the network.
"""

import os
from functools import cache
from pathlib import Path

import yaml
from pydantic import ValidationError

from services.models.entry import Model, RandomSource

CATALOGUE_DIRECTORY = Path(__file__).with_name("catalogue")


class CatalogueError(Exception):
    """An entry is missing, unreadable or breaks the schema; the text names the file, field and rule."""


def own_directory(home: Path) -> Path:
    """Where the entries of this machine's own models lie."""
    return home / "catalogue"


def read_entry(path: Path) -> Model:
    """Read and check one YAML file. Raises CatalogueError, naming the field that is wrong."""
    try:
        model = Model.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CatalogueError(f"{path}: cannot be read: {error}") from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'entry'}: {e['msg']}" for e in error.errors())
        raise CatalogueError(f"{path}: {problems}") from error
    if model.name != path.stem:
        raise CatalogueError(f"{path}: name: {model.name!r} must equal the file's name, {path.stem!r}")
    return model


def write_entry(model: Model, home: Path) -> None:
    """Make a model an entry of this machine's own; one of that name is replaced, never seen by halves."""
    directory = own_directory(home)
    directory.mkdir(parents=True, exist_ok=True)
    fresh = directory / f".{model.name}.{os.getpid()}"
    told = yaml.safe_dump(model.model_dump(mode="json", exclude_defaults=True), sort_keys=False)
    fresh.write_text(told, encoding="utf-8")
    fresh.replace(directory / f"{model.name}.yaml")


def read_catalogue(home: Path | None = None, directory: Path = CATALOGUE_DIRECTORY) -> dict[str, Model]:
    """Read every entry by name: the built-in ones, and those of `home` where one is given.

    Raises CatalogueError, also for an entry of `home` that has a built-in one's name.
    """
    models = dict(_read_directory(directory))
    if home is not None:
        for path in _entries(own_directory(home)):
            if path.stem in models:
                raise CatalogueError(
                    f"{path}: name: {path.stem!r} is a built-in model's; give the file and its entry another"
                )
            models[path.stem] = read_entry(path)
    _check_references(models)
    return models


def get_model(name: str, home: Path | None = None) -> Model:
    """Return the entry of that name. Raises CatalogueError listing the names there are."""
    models = read_catalogue(home)
    if name not in models:
        raise CatalogueError(f"no model named {name!r} in the catalogue; there are: {', '.join(models)}")
    return models[name]


@cache
def _read_directory(directory: Path) -> dict[str, Model]:
    return {path.stem: read_entry(path) for path in _entries(directory)}


def _entries(directory: Path) -> list[Path]:
    return sorted(path for path in directory.glob("*.yaml") if not path.name.startswith("."))


def _check_references(models: dict[str, Model]) -> None:
    for model in models.values():
        for required in model.requires:
            if required not in models:
                raise CatalogueError(f"{model.name}: requires: no model named {required!r}")
            if model.name in _required_by(required, models):
                raise CatalogueError(
                    f"{model.name}: requires: {required!r} calls it in turn; neither could be loaded"
                )
        if isinstance(model.source, RandomSource) and model.source.of not in models:
            raise CatalogueError(f"{model.name}: source.of: no model named {model.source.of!r}")


def _required_by(name: str, models: dict[str, Model]) -> set[str]:
    """Return a model and all that it calls, at however many removes."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        each = waiting.pop()
        if each not in found:
            found.add(each)
            waiting += models[each].requires if each in models else ()
    return found
