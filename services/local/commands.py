"""The commands that need the servers, as `vmesh` knows them; each imports what it needs only when it is run."""

from pathlib import Path
from typing import Annotated

import typer

from services.local.model_commands import Home, models

__all__ = ["bench", "doctor", "models", "providers", "up"]


def up(
    listen: Annotated[
        str | None,
        typer.Option(
            help="Where the gateway listens; port 0 takes a free one.", show_default="127.0.0.1:50051"
        ),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when it serves and leave it running.")
    ] = False,
    home: Home = None,
) -> None:
    """Run the whole mesh and Triton on this machine until Ctrl-C or SIGTERM; a second one does not wait for calls."""
    from services.local.up import run_detached, run_here

    raise typer.Exit((run_detached if detach else run_here)(home, listen))


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a list.")] = False,
    home: Home = None,
) -> None:
    """Look for everything that the mesh needs on this machine; for what is missing, tell the command that mends it.

    Exit codes: 0 nothing that is needed is missing, 1 something is.
    """
    from services.local.doctor import run

    raise typer.Exit(run(home, as_json=as_json))


def providers(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list instead of a table.")] = False,
) -> None:
    """List the models of paid providers: which are configured, what is missing, what they cost and which end soon.

    Reads what the router reads (VMESH_ROUTER_*); no mesh has to run.
    """
    from services.local.providers import run

    raise typer.Exit(run(as_json=as_json))


def bench(
    requests: Annotated[
        int, typer.Option("-n", "--requests", min=2, max=2000, help="Requests on each path.")
    ] = 40,
    callers: Annotated[int, typer.Option("-c", "--callers", min=1, max=64, help="Callers at one time.")] = 1,
    steps: Annotated[int, typer.Option(min=1, max=100, help="Denoising steps of every request.")] = 20,
    seconds: Annotated[
        float, typer.Option(min=1, max=3600, help="End after this long, with what there is.")
    ] = 300,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for the figures and the plot.")
    ] = Path("bench"),
    home: Home = None,
) -> None:
    """Measure the mesh beside direct Triton: the same model, prompt, seeds and steps, in turns, in one run."""
    from services.local.bench.command import run

    raise typer.Exit(run(home, requests, callers, steps, seconds, output))
