"""`vmesh templates`: prompts with holes, to draw with `vmesh generate --template`; one's own are added and removed."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from scrollintel.visual.cli import mesh, template_files
from scrollintel.visual.cli.answers import answer
from scrollintel.visual.client import VisualClient
from scrollintel.visual.templates import Template

FEW = 5  # templates that are shown with their holes; more are shown by id and title


templates = typer.Typer(rich_markup_mode="rich")


@templates.callback(invoke_without_command=True)
def listed(
    context: typer.Context,
    search: Annotated[
        str, typer.Option(help="What to look for, in words: by meaning, nearest first.", show_default=False)
    ] = "",
    category: Annotated[str, typer.Option(help="Only of this category.", show_default=False)] = "",
    holes: Annotated[
        bool | None, typer.Option(help=f"Show what fills them; left out, where there are at most {FEW}.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")] = False,
    address: mesh.Address = None,
    home: mesh.Home = None,
) -> None:
    """List the prompt templates, or show, add and remove your own; `vmesh generate --template ID --var name=value` draws one.

    Exit codes: 0 some were found, 1 none was, 2 usage, 3 the search is too long, 8 no mesh, 10 not served.
    """
    if context.invoked_subcommand is not None:
        return
    console = Console(stderr=True)
    found = answer(lambda client: client.templates(search, category=category), address, home, as_json=as_json)
    if as_json:
        sys.stdout.write(json.dumps({"templates": [asdict(one) for one in found]}, indent=2) + "\n")
    else:
        whole = len(found) <= FEW if holes is None else holes
        out = Console(soft_wrap=True, highlight=False)
        for one in found:
            out.print("\n".join(_lines(one, whole=whole)))
        if not found:
            console.print("no template is like that; `vmesh templates` lists all")
        if found.own_unavailable:
            console.print("[yellow]your own are not among them: the asset server does not answer[/]")
    raise typer.Exit(0 if found else 1)


@templates.command()
def show(
    template: Annotated[str, typer.Argument(help="Its id.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")] = False,
    address: mesh.Address = None,
    home: mesh.Home = None,
) -> None:
    """Show one template: its text, what fills its holes, and the prompt that it makes of their examples.

    Exit codes: 0 it was found, 2 usage, 7 no such template, 8 no mesh, 10 not served.
    """
    found = answer(lambda client: client.template(template), address, home, as_json=as_json)
    if as_json:
        sys.stdout.write(json.dumps({"template": asdict(found)}, indent=2) + "\n")
        return
    out = Console(soft_wrap=True, highlight=False)
    out.print("\n".join([*_lines(found, whole=True), f"  [dim]such as: {escape(found.example)}[/]"]))


@templates.command()
def add(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.yaml",
            help="One template, or several under `templates`: title, text, variables; id, category, style.",
            show_default=False,
        ),
    ],
    address: mesh.Address = None,
    home: mesh.Home = None,
) -> None:
    """Keep templates of your own, one after the other up to the first that is refused.

    Exit codes: 0 all are kept, 2 usage or no such file, 3 one breaks a rule, 5 there is no room for more, 8 no mesh,
    10 not served.
    """
    try:
        drafts = template_files.read(file)
    except (template_files.TemplateFileError, OSError) as error:
        raise typer.BadParameter(str(error), param_hint="FILE.yaml") from error

    async def keep(client: VisualClient) -> None:
        for draft in drafts:
            kept = await client.add_template(
                draft.text,
                title=draft.title,
                holes=draft.holes,
                template_id=draft.id,
                category=draft.category,
                style=draft.style,
            )
            Console(stderr=True).print(f"[green]kept[/] {kept.id}")

    answer(keep, address, home)


@templates.command()
def remove(
    template: Annotated[str, typer.Argument(help="The id of one of your own.", show_default=False)],
    address: mesh.Address = None,
    home: mesh.Home = None,
) -> None:
    """Delete a template of your own.

    Exit codes: 0 it is gone, 2 usage, 7 no such template of yours, 8 no mesh, 10 not served.
    """
    answer(lambda client: client.remove_template(template), address, home)
    Console(stderr=True).print(f"[green]removed[/] {escape(template)}")


def _lines(template: Template, *, whole: bool) -> list[str]:
    own = " [green]own[/]" if template.own else ""
    lines = [f"[bold]{template.id}[/] [dim]{template.category}[/] {escape(template.title)}{own}"]
    if whole:
        lines.append(f"  {escape(template.text)}")
        width = max((len(hole.name) for hole in template.holes), default=0)
        for hole in template.holes:
            needed = "" if hole.default or hole.options else " [yellow](needed)[/]"
            lines.append(
                f"  [cyan]{hole.name:{width}}[/] {escape(hole.about)}: [dim]{escape(hole.rule)}[/]{needed}"
            )
    return lines
