"""Page tokens: where a listing goes on, as text that callers pass back and never read."""

import base64
import struct

VERSION = 1
_LAYOUT = struct.Struct(">Bq")
_MAXIMUM = 2**63 - 1


class InvalidPageTokenError(ValueError):
    """The token was not made by `encode_page_token`."""


def encode_page_token(before: int) -> str:
    """Make the token of the page whose entries all come before sequence number `before` (0 to 2^63 - 1)."""
    return base64.urlsafe_b64encode(_LAYOUT.pack(VERSION, before)).decode("ascii")


def decode_page_token(token: str) -> int | None:
    """Return the sequence number a token names; None for the empty token, which is the first page.

    Raises InvalidPageTokenError.
    """
    if not token:
        return None
    try:
        version, before = _LAYOUT.unpack(
            base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        )
    except (ValueError, struct.error) as error:
        raise InvalidPageTokenError("not a page token of this service") from error
    if version != VERSION or not 0 <= before <= _MAXIMUM:
        raise InvalidPageTokenError("not a page token of this version of the service")
    return int(before)
