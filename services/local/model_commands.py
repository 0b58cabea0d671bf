"""`vmesh models ...`, as `vmesh` knows them; each command imports what it needs only when it is run."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from scrollintel.visual.running import default_home

Home = Annotated[
    Path | None,
    typer.Option(
        help="Folder for everything that is kept.", envvar="VMESH_HOME", show_default="~/.visual-mesh"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Named = Annotated[str, typer.Argument(help="The model's name.", show_default=False)]

models = typer.Typer(no_args_is_help=True, help="See, build, check and load the models that Triton serves.")


class Target(StrEnum):
    """What a model is built for."""

    ONNX = "onnx"
    TENSORRT = "tensorrt"


Sm = Annotated[
    int | None,
    typer.Option(
        "--sm",
        min=50,
        max=200,
        help="With `tensorrt`: compute capability that engines are for, such as 89.",
        show_default="this machine's GPU",
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(help="One of the entry's precisions, such as fp16.", show_default="the entry's first"),
]


@models.command("list")
def list_models(as_json: AsJson = False, home: Home = None) -> None:
    """List the catalogue: what is loaded, what can be, and the command for what is not built yet."""
    from services.local.model_list import run

    run(_home(home), as_json=as_json)


@models.command("show")
def show_model(name: Named, as_json: AsJson = False, home: Home = None) -> None:
    """Show one entry whole: source, licence, files and digests, shapes, and how far each component is from its reference."""
    from services.local.model_show import run

    raise typer.Exit(run(name, _home(home), as_json=as_json))


@models.command("build")
def build_models(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Models to build; all but the optional ones when none is named."),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="A diffusers directory or a checkpoint file, for a model that needs it."),
    ] = None,
    target: Annotated[
        Target, typer.Option(help="`tensorrt` builds engines for this machine's GPU as well.")
    ] = Target.ONNX,
    sm: Sm = None,
    precision: Precision = None,
    name: Annotated[
        str | None, typer.Option(help="Build the entry under this name, beside the one of its own name.")
    ] = None,
    lora: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE[:SCALE]", help="Merge a low-rank change; may be repeated."),
    ] = None,
    allow_noncommercial: Annotated[
        bool, typer.Option(help="Build models whose licence forbids commercial use.")
    ] = False,
    home: Home = None,
) -> None:
    """Fetch, check and convert weights, and make the repository that Triton serves.

    Exit codes: 0 all is built, 1 something is not, 2 usage, 130 stopped; whatever it is, nothing half-built stays.
    """
    from services.models import build_command

    raise typer.Exit(
        build_command.run(
            names or [],
            _home(home),
            build_command.Options(weights, precision, tuple(lora or ()), name),
            allow_noncommercial=allow_noncommercial,
            engines=target is Target.TENSORRT,
            sm=sm,
        )
    )


@models.command("verify")
def verify_models(
    names: Annotated[list[str] | None, typer.Argument(help="Built models; all when none is named.")] = None,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Run every component of every built model against what its reference computed, and check every built file.

    Exit codes: 0 all agree, 1 something differs or a file is not what was built, 2 usage.
    """
    from services.local.model_verify import run

    raise typer.Exit(run(names or [], _home(home), as_json=as_json))


@models.command("export")
def export_model(
    name: Named,
    target: Annotated[
        Target, typer.Option(help="`tensorrt`: engines for this machine's GPU, beside the graphs.")
    ] = Target.TENSORRT,
    sm: Sm = None,
    precision: Precision = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for the graphs (`onnx` needs one).")
    ] = None,
    home: Home = None,
) -> None:
    """Export a built model: TensorRT engines into its build, or its ONNX graphs into a folder."""
    from services.local.model_export import run

    raise typer.Exit(run(name, _home(home), precision, output, engines=target is Target.TENSORRT, sm=sm))


@models.command("load")
def load_model(name: Named, home: Home = None) -> None:
    """Bring a built model into the running mesh's memory and wait until it answers."""
    from services.local.model_loading import load

    raise typer.Exit(load(name, _home(home)))


@models.command("unload")
def unload_model(name: Named, home: Home = None) -> None:
    """Take a model out of the running mesh's memory; one that is in use or pinned stays."""
    from services.local.model_loading import unload

    raise typer.Exit(unload(name, _home(home)))


def _home(home: Path | None) -> Path:
    return (home or default_home()).expanduser()
