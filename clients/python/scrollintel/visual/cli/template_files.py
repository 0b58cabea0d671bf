"""Templates in a YAML file, written as the built-in ones are.

What stands there counts as it is written: YAML would make a number of 16:9, and a date or yes and no are words as well.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scrollintel.visual.templates import Hole

PARTS = {"id", "title", "text", "category", "style", "variables"}
RULES = {"text", "choice", "number"}
_WHOLE = re.compile("-?[0-9]{1,18}")


class TemplateFileError(ValueError):
    """The file holds no templates; the text says where and why."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A template that is to be kept."""

    id: str | None
    title: str
    text: str
    category: str | None
    style: str | None
    holes: tuple[Hole, ...]


def read(path: Path) -> list[Draft]:
    """Read one template, or several under `templates`; what they hold is the server's to check.

    Raises:
        TemplateFileError: it is no YAML, or a part is missing, unknown or of another kind.
        OSError: the file cannot be read.
    """
    import yaml  # here: of all commands one reads YAML

    try:
        data = yaml.load(path.read_text("utf-8"), yaml.BaseLoader)  # noqa: S506 - it makes texts of everything
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TemplateFileError(f"{path}: {error}") from error
    except RecursionError as error:
        raise TemplateFileError(f"{path}: is nested too deeply") from error
    entries = data["templates"] if isinstance(data, dict) and set(data) == {"templates"} else [data]
    if not isinstance(entries, list) or not entries:
        raise TemplateFileError(f"{path}: `templates` is a list of one template or more")
    return [_draft(entry, f"{path}: template {number}") for number, entry in enumerate(entries, 1)]


def _draft(data: Any, place: str) -> Draft:
    entry = _mapping(data, place, needed={"title", "text"}, known=PARTS)
    variables = _mapping(entry.get("variables") or {}, f"{place}: variables")
    return Draft(
        _text(entry.get("id", ""), f"{place}: id") or None,
        _text(entry["title"], f"{place}: title"),
        _text(entry["text"], f"{place}: text"),
        _text(entry.get("category", ""), f"{place}: category") or None,
        _text(entry.get("style", ""), f"{place}: style") or None,
        tuple(_hole(name, rule, f"{place}: variables.{name}") for name, rule in variables.items()),
    )


def _hole(name: str, data: Any, place: str) -> Hole:
    rule = _mapping(data, place, needed={"about"}, known={"about", "default", "example", *RULES})
    kinds = RULES & set(rule)
    if len(kinds) != 1:
        raise TemplateFileError(f"{place}: say one of text, choice and number")
    about, default, example = (
        _text(rule.get(part, ""), f"{place}: {part}") for part in ("about", "default", "example")
    )
    match kinds.pop(), rule:
        case "text", {"text": str(most)} if _WHOLE.fullmatch(most):
            return Hole(name, about, default, max_length=int(most), example=example)
        case "choice", {"choice": [*options]}:
            each = tuple(_text(option, f"{place}: choice") for option in options)
            return Hole(name, about, default, options=each)
        case "number", {"number": [str(lowest), str(highest)]} if _WHOLE.fullmatch(
            lowest
        ) and _WHOLE.fullmatch(highest):
            return Hole(name, about, default, lowest=int(lowest), highest=int(highest))
        case kind, _:
            raise TemplateFileError(f"{place}: {kind} takes {TAKES[kind]}")


TAKES = {
    "text": "the most characters, such as 80",
    "choice": "a list of options",
    "number": "its lowest and highest, such as [1, 6]",
}


def _mapping(
    data: Any, place: str, *, needed: set[str] | None = None, known: set[str] | None = None
) -> Mapping[str, Any]:
    if not isinstance(data, dict):
        raise TemplateFileError(f"{place} is no mapping of names to values")
    if missing := sorted((needed or set()) - set(data)):
        raise TemplateFileError(f"{place} has no {', '.join(missing)}")
    if known is not None and (unknown := sorted(map(str, set(data) - known))):
        raise TemplateFileError(f"{place} has {', '.join(unknown)}, and takes {', '.join(sorted(known))}")
    return data


def _text(value: Any, place: str) -> str:
    if isinstance(value, str):
        return value
    raise TemplateFileError(f"{place} is no text")
