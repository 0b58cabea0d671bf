"""`vmesh models export`: TensorRT engines into a model's build, or its ONNX graphs out of it."""

import shutil
from pathlib import Path

from rich.markup import escape

from services.local import model_table
from services.models.build_command import add_engines
from services.models.catalogue import CatalogueError
from services.models.inventory import build_of

USAGE = 2
GRAPHS = ("*.onnx", "*.onnx.data", "*.json")


def run(
    name: str, home: Path, precision: str | None, output: Path | None, *, engines: bool, sm: int | None
) -> int:
    """Export and print; returns the exit code."""
    console = model_table.console()
    try:
        if engines:
            if output:
                raise CatalogueError("--output: engines go beside the graphs, where they are served from")
            return add_engines(console, name, home, precision, sm)
        if precision or sm is not None:
            raise CatalogueError("--precision and --sm are for engines: --target tensorrt")
        copied = copy_graphs(name, home, output)
    except (CatalogueError, OSError) as error:
        console.print(f"[red]{escape(str(error))}[/]", soft_wrap=True)
        return USAGE
    console.print(f"{len(copied)} files in {escape(str(output))}: {', '.join(copied)}", soft_wrap=True)
    return 0


def copy_graphs(name: str, home: Path, output: Path | None) -> list[str]:
    """Copy a built model's graphs, what they read, and what they were checked by; returns the files' names.

    Raises CatalogueError when the model is not built or no folder is named, OSError when it cannot be written to.
    """
    build = build_of(name, home)
    if build is None:
        raise CatalogueError(f"{name} is not built; first: vmesh models build {name}")
    if output is None:
        raise CatalogueError("--output: name the folder that the graphs are to go to")
    graphs = sorted(path for pattern in GRAPHS for path in (build / "1").glob(pattern))
    if not graphs:
        raise CatalogueError(f"{name} has no graphs: it is served by code alone")
    output.mkdir(parents=True, exist_ok=True)
    for path in graphs:
        shutil.copyfile(path, output / path.name)
    if (build / "parity").is_dir():
        shutil.copytree(build / "parity", output / "parity", dirs_exist_ok=True)
    return [path.name for path in graphs]
