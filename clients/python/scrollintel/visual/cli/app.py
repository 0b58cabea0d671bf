"""The application: which commands there are, and how an error ends one."""

import os
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer

from scrollintel.visual.cli.enhance import enhance
from scrollintel.visual.cli.generate import generate
from scrollintel.visual.cli.rate import rate
from scrollintel.visual.cli.redact import redact
from scrollintel.visual.cli.services import services
from scrollintel.visual.cli.status import status
from scrollintel.visual.cli.templates import templates
from scrollintel.visual.cli.verify import verify
from scrollintel.visual.cli.works import protect, works

COMMANDS = "visual_mesh.commands"


def application() -> typer.Typer:
    """Return the command line with every command that is installed."""
    app = typer.Typer(
        name="vmesh",
        help="Pictures from words, on a mesh of models.",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_show_locals=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.command()(generate)
    app.command()(enhance)
    app.command()(rate)
    app.add_typer(templates, name="templates")
    app.command()(verify)
    app.command()(redact)
    app.command()(protect)
    app.add_typer(works, name="works")
    app.command()(status)
    app.command()(services)
    for entry in sorted(entry_points(group=COMMANDS), key=lambda entry: entry.name):
        _join(app, entry)
    return app


def run() -> None:
    """Run the command that the process's arguments name, and exit."""
    try:
        application()()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read the output has gone (`vmesh services | head`); there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _join(app: typer.Typer, entry: EntryPoint) -> None:
    try:
        command: Any = entry.load()
    except Exception as error:
        # One command that cannot be loaded must not take the others with it, `doctor` least of all.
        sys.stderr.write(f"vmesh {entry.name} is not available: {type(error).__name__}: {error}\n")
        return
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=entry.name)
    else:
        app.command(name=entry.name)(command)
