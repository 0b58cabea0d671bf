"""The command's options; it imports what it needs only when it is run."""

from pathlib import Path
from typing import Annotated

import typer

from scrollintel.visual.cli import mesh


def compare(
    prompt: Annotated[str | None, typer.Argument(help="What to draw.", show_default=False)] = None,
    models: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--models",
            metavar="A,B,...",
            help="2 to 8 models; left out, all that take work and cost nothing.",
        ),
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="Instead of a prompt: a suite of them, `classic`.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Instead of a prompt: a file of them, one a line.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of every picture.")] = 7,
    size: Annotated[str, typer.Option(metavar="WxH", help="Size in pixels, 256 to 2048.")] = "512x512",
    quality: Annotated[
        str | None, typer.Option(help="How much work to spend: draft, standard or high.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Denoising steps, 1 to 150; left out, each model's own.")
    ] = None,
    enhancement: Annotated[
        str | None, typer.Option(help="How far to rewrite the prompt: none, light, standard or rich.")
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option("--max-cost", help="The most each picture may cost, in US dollars.")
    ] = None,
    in_turn: Annotated[
        bool, typer.Option("--in-turn", help="One model after the other, so that none shares the machine.")
    ] = False,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for the pictures, the sheet and the figures.")
    ] = Path("compare"),
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds each prompt may take.")] = 600.0,
    address: mesh.Address = None,
    home: mesh.Home = None,
) -> None:
    """Put a prompt, or many, to several models with one seed: a table, a contact sheet and every figure.

    Starts a mesh for itself when none runs. A model that fails is told beside those that do not.

    Exit codes: 0 every model made every picture, 1 some did not; when nothing was made that of the first failure: 3
    prompt, 4 model, 5 busy, 6 safety, 8 no mesh, 9 out of time, 10 not served. 2 usage, 130 cancelled.
    """
    from services.local.compare.command import run
    from services.local.compare.job import Typed

    typed = Typed(
        prompt=prompt,
        suite=suite,
        prompts=prompts,
        models=models,
        seed=seed,
        size=size,
        quality=quality,
        steps=steps,
        enhancement=enhancement,
        max_cost=max_cost,
        in_turn=in_turn,
        output=output,
        as_json=as_json,
        timeout=timeout,
        address=address,
        home=home,
    )
    raise typer.Exit(run(typed))
