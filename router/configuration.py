"""Reads the router's YAML files, and refuses a wrong one with the line that is wrong."""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

Document = TypeVar("Document", bound=BaseModel)
Location = tuple[int | str, ...]


class ConfigurationError(Exception):
    """A configuration file is missing or breaks its rules; the text names file, line, field and rule."""


class Fault(ValueError):  # noqa: N818 - it is told as one line among several, and never caught
    """What a validator found wrong with one item among several; `at` leads to it from what the validator was given.

    `Fault("two backends are called a/b", at=(1, "name"))` is told with the line of the second item's name, where a plain
    ValueError would be told with the line that the list begins at.
    """

    def __init__(self, message: str, at: Location) -> None:
        super().__init__(message)
        self.at = at


class _Loader(yaml.SafeLoader):
    """Leaves dates as they are written: the loader knows no line of a 30th of February, the document that it becomes does."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class Strict(BaseModel):
    """Frozen, and strict about unknown keys: a misspelt field is an error, not a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def load(path: Path, document: type[Document], **context: object) -> Document:
    """Return the checked content of a file. Raises ConfigurationError with every fault and its line.

    Validators find `context` in `ValidationInfo.context`: what other files say, such as the names that they have taken.
    """
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=_Loader)
        content = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise ConfigurationError(f"{path.name}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path.name}: is not YAML: {error}") from error
    if twice := [f"{path.name}:{line}: {key}: comes twice" for line, key in _twice(root)]:
        raise ConfigurationError("\n".join(twice))
    try:
        return document.model_validate(content, context=context)
    except ValidationError as error:
        faults = [_told(path, root, fault) for fault in error.errors()]
        raise ConfigurationError("\n".join(faults)) from error


def _told(path: Path, root: yaml.Node | None, fault: ErrorDetails) -> str:
    cause = fault.get("ctx", {}).get("error")
    location = fault["loc"] + (cause.at if isinstance(cause, Fault) else ())
    words = str(cause) if isinstance(cause, ValueError) else fault["msg"]
    return f"{path.name}:{_line(root, location)}: {'.'.join(map(str, location)) or 'document'}: {words}"


def _twice(node: yaml.Node | None) -> Iterator[tuple[int, str]]:
    """Yield the line (from 1) and the name of each key that a mapping holds already; YAML would take the last one."""
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _twice(item)
    elif isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            if key.value in keys:
                yield key.start_mark.line + 1, key.value
            keys.add(key.value)
            yield from _twice(value)


def _line(node: yaml.Node | None, location: Location) -> int:
    """Return the line (from 1) of the deepest part of `location` that the file holds."""
    line = 1 if node is None else node.start_mark.line + 1
    for step in location:
        if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        elif isinstance(node, yaml.MappingNode):
            pair = next((pair for pair in node.value if pair[0].value == step), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        else:
            break
    return line
