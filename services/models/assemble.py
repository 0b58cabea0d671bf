"""Making one build: the code that serves, the graphs, the values they are checked by, and a list of it all."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from services.models import manifest
from services.models.converters import Report, converter_of
from services.models.entry import Model
from services.models.inventory import ENTRY

SERVING = Path(__file__).with_name("serving")
VERSION = "1"
ALONGSIDE = {"graph": ("engine",)}
"""What a serving module opens when it is there, so a build that has one has the other."""
MAKING = ".making-"
CONFIG_NAME = re.compile(r'^name:\s*"[^"]*"', re.MULTILINE)


def code(model: Model, repository: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the files that serve a model, and where each goes in a build."""
    template = repository / model.template
    yield template / "config.pbtxt", Path("config.pbtxt")
    for file in sorted((template / VERSION).glob("*.py")):
        yield file, Path(VERSION) / file.name
    for module in (each for name in model.serving for each in (name, *ALONGSIDE.get(name, ()))):
        yield SERVING / f"{module}.py", Path(VERSION) / f"{module}.py"


def assemble(
    model: Model, sources: Path, repository: Path, builds: Path, digest: str, report: Report
) -> Path:
    """Make `builds/<digest>` and return it; it appears by rename when all of it is there and checked.

    Raises what the model's converter raises, and then leaves nothing.
    """
    builds.mkdir(parents=True, exist_ok=True)
    sweep(builds)
    with tempfile.TemporaryDirectory(dir=builds, prefix=MAKING) as scratch:
        made = Path(scratch) / digest
        for file, place in code(model, repository):
            (made / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, made / place)
        _name(made / "config.pbtxt", model.name)
        converter_of(model)(model, sources, made / VERSION, report)
        (made / ENTRY).write_text(model.model_dump_json(indent=2) + "\n", encoding="utf-8")
        manifest.write(made)
        shutil.rmtree(builds / digest, ignore_errors=True)
        made.rename(builds / digest)
    return builds / digest


def sweep(builds: Path) -> None:
    """Remove what a build that was killed left; the caller holds the model's lock."""
    for scratch in builds.glob(f"{MAKING}*"):
        shutil.rmtree(scratch, ignore_errors=True)


def _name(config: Path, name: str) -> None:
    """Give the configuration the model's name, whatever the template's was."""
    text, found = CONFIG_NAME.subn(f'name: "{name}"', config.read_text(encoding="utf-8"), count=1)
    config.write_text(text if found else f'name: "{name}"\n{text}', encoding="utf-8")
