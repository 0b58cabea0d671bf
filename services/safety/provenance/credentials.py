"""What a mesh signs and marks with: a certificate chain with its key, and the watermark's key."""

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from services.safety.provenance import development

CHAIN, KEY, WATERMARK = "chain.pem", "key.pem", "watermark.key"
_WATERMARK_BYTES = 32


@dataclass(frozen=True)
class Credentials:
    """A chain in PEM, the signer's certificate first; its key, PKCS 8 in PEM; and the watermark's key."""

    chain: bytes
    key: bytes = field(repr=False)
    watermark: bytes = field(repr=False)

    @property
    def anchor(self) -> bytes:
        """The last certificate of the chain: what it says is trusted when it is met again."""
        begin = b"-----BEGIN CERTIFICATE-----"
        return begin + self.chain.rpartition(begin)[2]


def load(folder: Path, chain: Path | None, key: Path | None, watermark: Path | None) -> Credentials:
    """Read what an operator gave, and the rest from `folder`, which is made with credentials for development.

    Chain and key belong together. Raises ValueError where one is given without the other or a file holds nothing.
    """
    if (chain is None) != (key is None):
        raise ValueError("VMESH_SAFETY_C2PA_CHAIN and VMESH_SAFETY_C2PA_KEY: give both or neither")
    if chain is None or watermark is None:
        make(folder)
    return Credentials(
        _read(chain or folder / CHAIN),
        _read(key or folder / KEY),
        # A key may be of any form and length: a passphrase in a file serves as well as random bytes.
        hashlib.sha256(_read(watermark or folder / WATERMARK)).digest(),
    )


def make(folder: Path) -> None:
    """Make the folder with credentials for development, whole or not at all, for its owner alone; one that is there stays."""
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))  # mode 0700
    try:
        chain, key = development.certificate()
        for name, data in ((CHAIN, chain), (KEY, key), (WATERMARK, os.urandom(_WATERMARK_BYTES))):
            _write(fresh / name, data)
        fresh.rename(folder)
    except OSError:
        if not folder.exists():  # otherwise another server was first, and its files are the mesh's
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _write(path: Path, data: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)


def _read(path: Path) -> bytes:
    data = path.read_bytes()
    if not data.strip():
        raise ValueError(f"{path}: is empty")
    return data
