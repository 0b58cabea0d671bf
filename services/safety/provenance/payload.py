"""The watermark's payload: 32 bits and a checksum of 8, told as four symbols of 10 bits."""

import zlib
from collections.abc import Sequence

PAYLOAD_BITS = 32
SYMBOL_BITS = 10
SYMBOLS = 4


def symbols(payload: int) -> list[int]:
    """Return a payload and its checksum as symbols; raises ValueError for one of more bits."""
    if not 0 <= payload < 1 << PAYLOAD_BITS:
        raise ValueError("a payload has 32 bits")
    word = payload << 8 | _checksum(payload)
    return [word >> SYMBOL_BITS * k & (1 << SYMBOL_BITS) - 1 for k in range(SYMBOLS)]


def payload_of(read: Sequence[int]) -> int | None:
    """Return what symbols say, or None where the checksum does not hold."""
    word = sum(symbol << SYMBOL_BITS * k for k, symbol in enumerate(read))
    payload = word >> 8
    return payload if _checksum(payload) == word & 0xFF else None


def _checksum(payload: int) -> int:
    return zlib.crc32(payload.to_bytes(4, "big")) & 0xFF
