"""What a mesh signs and marks with: a certificate chain with its key, and the watermark's key."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from services.safety.provenance import development, signer

CHAIN, KEY, WATERMARK = "chain.pem", "key.pem", "watermark.key"
RENEWED = "renewed-*"  # folders of later chains for development, by the day that each was made
WATERMARK_SETTING = "VMESH_SAFETY_WATERMARK_KEY"
_WATERMARK_BYTES = 32


@dataclass(frozen=True)
class Credentials:
    """A chain in PEM, the signer's certificate first; its key, PKCS 8 in PEM; and the watermark's key.

    `earlier` are the chains that were signed with before: what they signed is trusted as long as they last.
    """

    chain: bytes
    key: bytes = field(repr=False)
    watermark: bytes = field(repr=False)
    earlier: tuple[bytes, ...] = ()

    @property
    def anchors(self) -> bytes:
        """The certificates, in PEM, whose word is trusted when it is met again: the last of each chain."""
        return b"\n".join(signer.anchor(chain) for chain in (self.chain, *self.earlier))


def load(folder: Path, chain: Path | None, key: Path | None, watermark: Path | None) -> Credentials:
    """Read what an operator gave, and the rest from `folder`, which is made with credentials for development.

    Chain and key belong together. Raises ValueError with the setting and the rule where one is given without the
    other, and where a file is absent, unreadable or empty.
    """
    if (chain is None) != (key is None):
        raise ValueError(f"{signer.CHAIN} and {signer.KEY}: give both or neither")
    try:
        if chain is None or watermark is None:
            make(folder)
        if chain is None:
            renew(folder)
    except OSError as error:
        needed = signer.CHAIN if chain is None else WATERMARK_SETTING
        raise ValueError(f"{needed}: is not set, and {folder} cannot be made: {error.strerror}") from None
    # A key may be of any form and length: a passphrase in a file serves as well as random bytes.
    secret = hashlib.sha256(_read(WATERMARK_SETTING, watermark or folder / WATERMARK)).digest()
    if chain is not None and key is not None:
        return Credentials(_read(signer.CHAIN, chain), _read(signer.KEY, key), secret)
    *earlier, newest = _folders(folder)
    return Credentials(
        _read(signer.CHAIN, newest / CHAIN),
        _read(signer.KEY, newest / KEY),
        secret,
        tuple(_read(signer.CHAIN, each / CHAIN) for each in earlier),
    )


def make(folder: Path) -> None:
    """Make the folder with credentials for development, whole or not at all, for its owner alone; one that is there stays."""
    if not folder.exists():
        chain, key = development.certificate()
        _write(folder, {CHAIN: chain, KEY: key, WATERMARK: os.urandom(_WATERMARK_BYTES)})


def renew(folder: Path) -> None:
    """Add a chain for development where half the days of the newest are over; the watermark's key stays.

    A manifest has no time stamp: it is valid as long as its certificate, so that none may be signed near its end.
    """
    now = datetime.now(UTC)
    if signer.ends(_read(signer.CHAIN, _folders(folder)[-1] / CHAIN)) - now < development.VALID / 2:
        chain, key = development.certificate()
        _write(folder / RENEWED.replace("*", f"{now:%Y-%m-%d}"), {CHAIN: chain, KEY: key})


def _folders(folder: Path) -> list[Path]:
    """Return where chains for development are, the newest last."""
    return [folder, *sorted(folder.glob(RENEWED))]


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make a folder with files, whole or not at all, for its owner alone."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))  # mode 0700
    try:
        for name, data in files.items():
            path = fresh / name
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)
        fresh.rename(folder)
    except OSError:
        if not folder.exists():  # otherwise another server was first, and its files are the mesh's
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _read(setting: str, path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{setting}: {path} cannot be read: {error.strerror}") from None
    if not data.strip():
        raise ValueError(f"{setting}: {path} is empty")
    return data
