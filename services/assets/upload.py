"""An upload on its way in: gathered and refused as early as its bytes allow."""

import hashlib
import io
from dataclasses import dataclass, field

from services.assets.media_type import SIGNATURE_BYTES, sniff_media_type

MAXIMUM_BYTES = 64 << 20


class UploadRefusedError(ValueError):
    """The bytes are not what was announced, or too many; the text says which and can be shown to the caller."""


@dataclass
class Upload:
    """Bytes announced as `media_type`, with the SHA-256 `sha256` in lower-case hex unless that is empty."""

    media_type: str
    sha256: str = ""
    maximum_bytes: int = MAXIMUM_BYTES
    _bytes: io.BytesIO = field(default_factory=io.BytesIO, repr=False)
    _checked: bool = False

    def add(self, data: bytes) -> None:
        """Take the next bytes. Raises UploadRefusedError as soon as the whole can no longer be accepted."""
        size = self._bytes.tell() + len(data)
        if size > self.maximum_bytes:
            raise UploadRefusedError(f"larger than {self.maximum_bytes} bytes; send a smaller file")
        self._bytes.write(data)
        if size >= SIGNATURE_BYTES and not self._checked:
            self._check_media_type()

    def finish(self) -> bytes:
        """Return the whole. Raises UploadRefusedError when nothing came or it is not what was announced.

        Hashes every byte: call it off the event loop.
        """
        data = self._bytes.getvalue()
        if not data:
            raise UploadRefusedError("no bytes came after the header")
        if not self._checked:
            self._check_media_type()
        if self.sha256 and hashlib.sha256(data).hexdigest() != self.sha256:
            raise UploadRefusedError(
                "the bytes do not have the SHA-256 that the header gave; send them again"
            )
        return data

    def _check_media_type(self) -> None:
        with self._bytes.getbuffer() as held:
            found = sniff_media_type(bytes(held[:SIGNATURE_BYTES]))
        if found != self.media_type:
            raise UploadRefusedError(
                f"announced as {self.media_type}, and the bytes are {found or 'of no accepted type'}"
            )
        self._checked = True
