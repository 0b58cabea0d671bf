"""What one run of the command does, made of what was typed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scrollintel.visual.cli import mesh, sizes
from scrollintel.visual.requests import broken
from services.local.compare import prompts
from services.local.compare.drawing import FEWEST, MOST, Asking
from services.local.compare.prompts import Prompt


@dataclass(frozen=True)
class Typed:
    """The command's options as they were typed; `vmesh compare --help` tells what each is."""

    prompt: str | None
    suite: str | None
    prompts: Path | None
    models: str | None
    seed: int
    size: str
    quality: str | None
    steps: int | None
    enhancement: str | None
    max_cost: float | None
    in_turn: bool
    output: Path
    as_json: bool
    timeout: float
    address: str | None
    home: Path | None


@dataclass(frozen=True)
class Job:
    """What one run does; without models it takes those that work."""

    prompts: tuple[Prompt, ...]
    asking: Asking
    output: Path
    address: str | None
    home: Path
    timeout: float
    as_json: bool


def job_of(typed: Typed) -> Job:
    """Return what is to be done.

    Raises:
        PromptError: an option breaks a rule that needs no mesh to be known.
    """
    width, height = sizes.sized(typed.size, None, None)
    image: Any = {  # the words in it are checked when they are sent
        "width": width,
        "height": height,
        "seed": typed.seed,
        "steps": typed.steps,
        "quality": typed.quality,
        "enhancement_level": typed.enhancement,
    }
    asking = Asking(_models(typed.models), image, typed.max_cost, typed.in_turn)
    home = mesh.folder(typed.home)
    return Job(_prompts(typed), asking, typed.output, typed.address, home, typed.timeout, typed.as_json)


def _prompts(typed: Typed) -> tuple[Prompt, ...]:
    if sum(given is not None for given in (typed.prompt, typed.suite, typed.prompts)) != 1:
        raise broken("prompt", "exclusive", "give one of: a prompt, --suite NAME, --prompts FILE")
    if typed.suite is not None:
        return prompts.of_suite(typed.suite)
    if typed.prompts is not None:
        return prompts.of_file(typed.prompts)
    return prompts.single(typed.prompt or "")


def _models(typed: str | None) -> tuple[str, ...]:
    if typed is None:
        return ()
    names = tuple(name.strip() for name in typed.split(",") if name.strip())
    if len(set(names)) != len(names):
        raise broken("models", "unique", "names a model twice")
    if not FEWEST <= len(names) <= MOST:
        raise broken("models", "items", f"must be {FEWEST} to {MOST} names, separated by commas")
    return names
