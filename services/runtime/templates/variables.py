"""What may stand in a hole of a template: a text, one of several choices, a whole number in a range."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import accumulate
from typing import Any, TypeAlias

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # the last two end a line and a paragraph
_WHOLE = re.compile(r"-?\d{1,9}")
MOST_NEAR = 3
MOST_CHARACTERS = 1000  # of what fills one hole, of what says what it is for, and of one choice
MOST_OPTIONS = 64
MOST_OF_A_NAME = 64  # characters, as many as a request takes
MOST_TOLD = 400  # characters of choices in an error, which goes back in trailers of 8 KB
MOST_MISSPELT = 64  # characters of what is held against the choices for near ones: of 200 it took 0.2 s
LARGEST = 999_999_999  # number, as many digits as are read of one


class VariableError(Exception):
    """A value that a variable does not take; the text says the rule, `near` holds choices that may have been meant."""

    def __init__(self, rule: str, near: tuple[str, ...] = ()) -> None:
        super().__init__(rule)
        self.near = near


@dataclass(frozen=True)
class Text:
    """Words of the caller's, 1 to `most` characters on one line. Needed where `default` is empty."""

    name: str
    about: str
    most: int
    example: str
    default: str

    @property
    def sample(self) -> str:
        """A value that it takes."""
        return self.default or self.example

    def take(self, value: str | None) -> str:
        """Return what stands in the hole; raises VariableError."""
        said = (self.default if value is None else value).strip()
        if not said:
            raise VariableError(f"is needed: {self.about}, such as `{self.sample}`")
        if len(said) > self.most:
            raise VariableError(f"takes at most {self.most} characters")
        if not one_line(said):
            raise VariableError("takes one line without control characters")
        return said


@dataclass(frozen=True)
class Choice:
    """One of `options`, the first when nothing is given; case does not matter."""

    name: str
    about: str
    options: tuple[str, ...]

    @property
    def default(self) -> str:
        """The value for want of another."""
        return self.options[0]

    @property
    def sample(self) -> str:
        """A value that it takes."""
        return self.default

    def take(self, value: str | None) -> str:
        """Return what stands in the hole; raises VariableError with near options."""
        if value is None:
            return self.default
        said = value.strip().casefold()
        for option in self.options:
            if option.strip().casefold() == said:
                return option
        short = [option for option in self.options if len(option) <= MOST_MISSPELT]
        near = get_close_matches(said, short, MOST_NEAR) if len(said) <= MOST_MISSPELT else ()
        few = _few(self.options)
        more = f" and {len(self.options) - len(few)} more" if len(few) < len(self.options) else ""
        raise VariableError(f"takes one of {', '.join(few)}{more}", tuple(near) or few)


@dataclass(frozen=True)
class Number:
    """A whole number from `lowest` to `highest`."""

    name: str
    about: str
    lowest: int
    highest: int
    standard: int

    @property
    def default(self) -> str:
        """The value for want of another."""
        return str(self.standard)

    @property
    def sample(self) -> str:
        """A value that it takes."""
        return self.default

    def take(self, value: str | None) -> str:
        """Return what stands in the hole; raises VariableError."""
        said = self.default if value is None else value.strip()
        # fullmatch and ASCII: `int` would take digits of other scripts, underscores and blanks.
        if not (said.isascii() and _WHOLE.fullmatch(said) and self.lowest <= int(said) <= self.highest):
            raise VariableError(f"takes a whole number from {self.lowest} to {self.highest}")
        return str(int(said))


Variable: TypeAlias = Text | Choice | Number


def parse(name: str, data: Mapping[str, Any]) -> Variable:
    """Read one variable of templates.yaml; raises ValueError as `checked` does."""
    if "choice" in data:
        return checked(Choice(name, data["about"], tuple(map(str, data["choice"]))))
    if "number" in data:
        lowest, highest = data["number"]
        return checked(Number(name, data["about"], lowest, highest, data["default"]))
    return checked(Text(name, data["about"], data["text"], data.get("example", ""), data.get("default", "")))


def checked(variable: Variable) -> Variable:
    """Return a variable as it is; raises ValueError, naming it, where no value or not its own default fits it."""
    if mistake := _mistake(variable):
        raise ValueError(f"variable {variable.name}: {mistake}")
    try:
        variable.take(variable.sample)
    except VariableError as error:
        raise ValueError(f"variable {variable.name}: its own sample is refused: it {error}") from error
    return variable


def _few(options: tuple[str, ...]) -> tuple[str, ...]:
    """Return the first of the options, as many as an error has room for; the first one shortened where it has not."""
    total = list(accumulate(map(len, options)))
    return options[: sum(length <= MOST_TOLD for length in total)] or (f"{options[0][:MOST_TOLD]}...",)


def one_line(text: str) -> bool:
    """Tell whether a text is one line without control characters."""
    return not _CONTROL.search(text)


def _mistake(variable: Variable) -> str:
    """Return what is wrong with a variable's own rule; empty where nothing is."""
    if len(variable.name) > MOST_OF_A_NAME:
        return f"its name is longer than {MOST_OF_A_NAME} characters"
    if not variable.about.strip():
        return "its `about` says nothing"
    if len(variable.about) > MOST_CHARACTERS or not one_line(variable.about):
        return f"its `about` is one line of at most {MOST_CHARACTERS} characters"
    match variable:
        case Text():
            fits = 1 <= variable.most <= MOST_CHARACTERS
            return "" if fits else f"a text takes 1 to {MOST_CHARACTERS} characters"
        case Choice():
            return _mistake_of(variable.options)
        case Number():
            fits = -LARGEST <= variable.lowest <= variable.highest <= LARGEST
            return "" if fits else f"its lowest is above its highest, or beyond {LARGEST:,}"


def _mistake_of(options: tuple[str, ...]) -> str:
    known = {option.strip().casefold() for option in options}
    if not 2 <= len(options) <= MOST_OPTIONS or len(known) != len(options) or "" in known:
        return f"a choice has 2 to {MOST_OPTIONS} options, none empty, none twice"
    if any(len(option) > MOST_CHARACTERS or not one_line(option) for option in options):
        return f"an option is one line of at most {MOST_CHARACTERS} characters"
    return ""
