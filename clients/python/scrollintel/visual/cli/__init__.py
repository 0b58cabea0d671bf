"""`vmesh`: the mesh from a terminal.

The commands here need nothing but the client. Those that need the servers join through the entry-point group
`visual_mesh.commands`, each entry a typer application or a function; a mesh that `generate` can start for itself is
the entry `mesh` of the group `visual_mesh.local`.
"""


def main() -> None:
    """Run the command line."""
    # Imported here: whoever imports the package for one of its modules needs no typer.
    from scrollintel.visual.cli.app import run

    run()
