"""Which bytes of a file a download sends, and in which pieces."""

from collections.abc import Iterator
from dataclasses import dataclass

CHUNK_BYTES = 1 << 20


class OffsetPastEndError(ValueError):
    """The first byte asked for lies past the end of the file."""


@dataclass(frozen=True)
class ByteRange:
    """Bytes `start` (inclusive) to `end` (exclusive)."""

    start: int
    end: int

    def chunks(self, size: int = CHUNK_BYTES) -> Iterator["ByteRange"]:
        """Cut the range into pieces of up to `size` bytes, in order; an empty range has none."""
        for start in range(self.start, self.end, size):
            yield ByteRange(start, min(start + size, self.end))


def resolve_range(file_bytes: int, offset: int, limit: int) -> ByteRange:
    """Return the range of `limit` bytes (0 = all) from `offset` of a file of `file_bytes` bytes.

    An offset at the very end is an empty range, so that resuming a finished download is no error.
    Raises OffsetPastEndError when the offset is past the end.
    """
    if offset > file_bytes:
        raise OffsetPastEndError(f"must not be past the end of the asset, which has {file_bytes} bytes")
    return ByteRange(offset, min(offset + limit, file_bytes) if limit else file_bytes)
