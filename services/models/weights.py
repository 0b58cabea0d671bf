"""Reading tensors out of files that somebody brought, without running anything of theirs."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from services.models.pickles import ZIP, UnsafeFileError, check_checkpoint

if TYPE_CHECKING:
    import torch

SAFETENSORS = ".safetensors"
PICKLES = (".pth", ".pt", ".ckpt", ".bin", ".pkl")
SUFFIXES = (SAFETENSORS, *PICKLES)

Tensors: TypeAlias = "dict[str, torch.Tensor]"


def check_file(path: Path) -> None:
    """Look at a file of weights without reading its tensors.

    Raises UnsafeFileError for a pickle that names anything but torch's own containers, a zip bomb, a damaged file, a
    `.safetensors` whose header does not describe its bytes, and a suffix that is none of SUFFIXES.
    """
    if path.suffix in PICKLES:
        check_checkpoint(path)
    elif path.suffix == SAFETENSORS:
        _check_safetensors(path)
    else:
        raise UnsafeFileError(f"{path.name}: is not of a kind that is read; those are {', '.join(SUFFIXES)}")


def read_tensors(path: Path) -> Tensors:
    """Read every tensor of a file by name; those of nested dictionaries are joined with dots (`params_ema.conv.weight`).

    Tensors are on the CPU in the type they are stored in; the file stays mapped while they live. Needs torch, and
    safetensors for `.safetensors`. Raises UnsafeFileError as `check_file` does, before anything is read.
    """
    check_file(path)
    if path.suffix == SAFETENSORS:
        from safetensors.torch import load_file

        tensors: Tensors = load_file(path)
        return tensors
    import torch

    try:
        with path.open("rb") as file:
            mapped = file.read(len(ZIP)) == ZIP
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # torch raises whatever its readers meet
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UnsafeFileError(f"{path.name}: torch cannot read it: {reason}") from error
    if not isinstance(content, Mapping):
        raise UnsafeFileError(f"{path.name}: holds a {type(content).__name__}, not tensors by name")
    return {name: value for name, value in _flat(content) if isinstance(value, torch.Tensor)}


def unwrap(tensors: Tensors, wrappers: Sequence[str]) -> Tensors:
    """Return the tensors below the first of `wrappers` that any name begins with, without it; all of them if none does.

    Published checkpoints keep their weights under keys such as `params_ema`, `params` or `state_dict`.
    """
    for wrapper in wrappers:
        below = {
            name.removeprefix(f"{wrapper}."): value
            for name, value in tensors.items()
            if name.startswith(f"{wrapper}.")
        }
        if below:
            return below
    return tensors


def _flat(content: Mapping[Any, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _check_safetensors(path: Path) -> None:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise UnsafeFileError(
            f"{path.name}: cannot be looked at without safetensors: pip install 'visual-mesh[export]'"
        ) from error
    try:
        with safe_open(path, framework="np"):  # reads the header and holds it against the file's length
            pass
    except (SafetensorError, OSError, ValueError) as error:
        raise UnsafeFileError(
            f"{path.name}: its header does not describe what follows ({error}): it is cut short or damaged; fetch it "
            "again"
        ) from error
