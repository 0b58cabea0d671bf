"""`vmesh redact`: a text without what is personal in it."""

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from scrollintel.visual.cli import mesh
from scrollintel.visual.cli.answers import answer


def redact(
    text: Annotated[
        str, typer.Argument(help="What to redact; `-` reads it from the standard input.", show_default=False)
    ],
    originals: Annotated[
        bool, typer.Option("--originals", help="Tell on standard error what each pseudonym stands for.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of the text.")
    ] = False,
    address: mesh.Address = None,
    home: mesh.Home = None,
) -> None:
    """Replace names, addresses, numbers and keys in a text by pseudonyms such as <EMAIL_1>.

    The mesh that runs here is asked, and keeps nothing of it.

    Exit codes: 0 done, 2 usage, 3 the text is empty or too long, 6 it could not be read to its end, 8 no mesh.
    """
    said = sys.stdin.read().rstrip("\n") if text == "-" else text
    found = answer(
        lambda client: client.redact(said, with_originals=originals), address, home, as_json=as_json
    )
    if as_json:
        sys.stdout.write(json.dumps(asdict(found), indent=2, ensure_ascii=False) + "\n")
        return
    sys.stdout.write(found.text + "\n")
    for pseudonym, words in found.originals.items():
        sys.stderr.write(f"{pseudonym} {words}\n")
