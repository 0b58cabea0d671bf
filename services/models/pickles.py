"""What a pickled checkpoint would run when it is read, found out without running any of it.

A pickle is a program: it may name any function of any installed package and call it. A checkpoint of plain tensors
names a dozen functions of torch's own, all of them harmless; anything else is refused before torch sees the file.
"""

import pickletools
import zipfile
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

ZIP = b"PK\x03\x04"
"""What torch takes a file for a zip archive by: its first bytes."""
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PICKLES = 5  # magic, protocol, system, object, keys of the storages that follow as raw bytes
LARGEST_PICKLE = 256 << 20
"""Bytes of pickle that are scanned at most; a checkpoint's is a few MiB, its tensors lie outside it."""

STORAGES = ("Float", "Half", "BFloat16", "Double", "Long", "Int", "Short", "Char", "Byte", "Bool")
TYPES = [
    "float16",
    "float32",
    "float64",
    "bfloat16",
    "float8_e4m3fn",
    "float8_e5m2",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "bool",
]
HARMLESS = frozenset(
    {
        "collections.OrderedDict",
        "torch.Size",
        "torch.Tensor",
        "torch.device",
        "torch.nn.parameter.Parameter",
        "torch.storage.TypedStorage",
        "torch.storage.UntypedStorage",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        *(f"torch.{name}Storage" for name in STORAGES),
        *(f"torch.{name}" for name in TYPES),
    }
)
STRINGS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"}
PUTS, GETS = {"BINPUT", "LONG_BINPUT", "PUT"}, {"BINGET", "LONG_BINGET", "GET"}
EXTENSIONS = {"EXT1", "EXT2", "EXT4"}  # globals by a number that only this process's registry could explain


# What reading a zip archive raises where it is not one, is cut, or says things of itself that cannot be: compressed in an
# unknown way (NotImplementedError), encrypted (RuntimeError), named in no character set (UnicodeDecodeError, a ValueError).
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)


class UnsafeFileError(Exception):
    """A file was not read: it wants to run something, unpacks to more than it is, or is damaged."""


def check_checkpoint(path: Path) -> None:
    """Look at a file that torch saved. Raises UnsafeFileError naming everything it wants to run."""
    try:
        with path.open("rb") as file:
            zipped = file.read(len(ZIP)) == ZIP
        wanted = sorted(set(_globals_of_zip(path) if zipped else _globals_of_legacy(path)) - HARMLESS)
    except DAMAGED as error:
        raise UnsafeFileError(f"{path.name}: is cut short or damaged: {error}") from error
    if wanted:
        raise UnsafeFileError(
            f"{path.name}: wants to run {', '.join(wanted)}; a checkpoint of tensors does not. It was not read: "
            "take the same weights as .safetensors, or a file from whoever published them"
        )


def globals_of(pickle: BytesIO) -> Iterator[str]:
    """Yield every global, as module.name, that the pickle at a file's position names; leaves the file behind it.

    Raises UnsafeFileError where the name is made up while the pickle runs, and where it is no pickle.
    """
    pushed: list[str | None] = []  # the strings among what was pushed last; None for anything else
    memo: dict[int, str | None] = {}
    try:
        for operation, argument, _ in pickletools.genops(pickle):
            name = operation.name
            if name in ("GLOBAL", "INST"):
                yield str(argument).replace(" ", ".", 1)
                pushed.append(None)
            elif name == "STACK_GLOBAL":
                yield ".".join(_both(pushed))
                pushed.append(None)
            elif name in EXTENSIONS:
                yield f"extension {argument} of copyreg"
            elif name in STRINGS:
                pushed.append(str(argument))
            elif name == "MEMOIZE":
                memo[len(memo)] = pushed[-1] if pushed else None
            elif name in PUTS:
                memo[int(str(argument))] = pushed[-1] if pushed else None
            elif name in GETS:
                pushed.append(memo.get(int(str(argument))))
            else:
                pushed.append(None)
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise UnsafeFileError(f"is no pickle: {error}") from error


def _both(pushed: list[str | None]) -> tuple[str, str]:
    """Return the module and name that STACK_GLOBAL takes off the stack."""
    last = pushed[-2:]
    if len(last) < 2 or last[0] is None or last[1] is None:
        raise UnsafeFileError("names what it wants to run in a way that cannot be read without running it")
    return last[0], last[1]


def _globals_of_zip(path: Path) -> list[str]:
    found: list[str] = []
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        unpacked, size = sum(member.file_size for member in members), path.stat().st_size
        # torch stores its members as they are, so together they are never more than the file.
        if unpacked > size:
            raise UnsafeFileError(
                f"{path.name}: {size} bytes that unpack to {unpacked}: a zip bomb, not unpacked"
            )
        names = [member.filename for member in members]
        if len(set(names)) != len(names):
            raise UnsafeFileError(
                f"{path.name}: holds two members of one name; which is read depends on the reader"
            )
        pickles = [member for member in members if member.filename.endswith(".pkl")]
        if not pickles:
            raise UnsafeFileError(
                f"{path.name}: is a zip archive without data.pkl, so no checkpoint of torch's"
            )
        for member in pickles:
            if member.file_size > LARGEST_PICKLE:
                raise UnsafeFileError(f"{path.name}: {member.filename} has more than {LARGEST_PICKLE} bytes")
            found += _scan(path, BytesIO(archive.read(member)))
    return found


def _globals_of_legacy(path: Path) -> list[str]:
    with path.open("rb") as file:
        content = BytesIO(file.read(LARGEST_PICKLE))
    found = _scan(path, content)
    if LEGACY_MAGIC not in _integers(bytes(content.getbuffer()[: content.tell()])):
        # Told only when it wants nothing worse.
        if set(found) <= HARMLESS:
            raise UnsafeFileError(f"{path.name}: is neither a checkpoint of torch's nor .safetensors")
        return found
    for _ in range(LEGACY_PICKLES - 1):
        found += _scan(path, content)
    return found


def _scan(path: Path, pickle: BytesIO) -> list[str]:
    try:
        return list(globals_of(pickle))
    except UnsafeFileError as error:
        raise UnsafeFileError(f"{path.name}: {error}") from error


def _integers(pickle: bytes) -> list[int]:
    """Return the whole numbers that a pickle pushes."""
    return [argument for _, argument, _ in pickletools.genops(pickle) if isinstance(argument, int)]
