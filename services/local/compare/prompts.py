"""What models are compared by: one prompt, a suite of them, or a file of the user's own."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from scrollintel.visual.cli import files
from scrollintel.visual.requests import broken

SUITES = Path(__file__).with_name("suites.yaml")
MOST = 200  # prompts of one run
COMMENT = "#"


@dataclass(frozen=True)
class Prompt:
    """A prompt and what its row and its files are called."""

    name: str
    text: str


def single(text: str) -> tuple[Prompt, ...]:
    """Return one prompt, named by its own words."""
    return (Prompt(files.slug(text), text),)


def suites() -> dict[str, dict[str, str]]:
    """Return the suites by name, each with its prompts by name."""
    found: dict[str, dict[str, str]] = yaml.safe_load(SUITES.read_text())
    return found


def of_suite(name: str) -> tuple[Prompt, ...]:
    """Return a suite's prompts.

    Raises:
        PromptError: there is no such suite.
    """
    known = suites()
    if name not in known:
        raise broken("suite", "unknown", f"must be one of {', '.join(known)}")
    return tuple(Prompt(row, text) for row, text in known[name].items())


def of_file(path: Path) -> tuple[Prompt, ...]:
    """Return a file's prompts, one a line; empty lines and those that begin with # are passed over.

    Raises:
        PromptError: the file cannot be read as UTF-8, or holds no prompt or more than 200.
    """
    try:
        lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise broken("prompts", "file", f"{path} cannot be read: {why}") from error
    texts = [line for line in lines if line and not line.startswith(COMMENT)]
    if not 1 <= len(texts) <= MOST:
        raise broken("prompts", "items", f"{path} holds {len(texts)} prompts; 1 to {MOST} can be compared")
    return tuple(Prompt(f"{number:03d}-{files.slug(text)}", text) for number, text in enumerate(texts, 1))
