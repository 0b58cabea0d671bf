"""Pages of a list that seldom changes: tokens that hold only for the question they were made for.

An entry that comes or goes between two pages may shift those behind it by one.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
_TOKEN = re.compile(r"(\d{1,6})-([0-9a-f]{16})")


class PageTokenError(ValueError):
    """The token is not one of an earlier page of the same question."""


def page(entries: Sequence[T], size: int, token: str, question: tuple[str, ...]) -> tuple[Sequence[T], str]:
    """Return the entries of a page and the token of the next one, empty on the last.

    `size` is at least 1; `question` is what was asked besides the page. Raises PageTokenError.
    """
    digest = hashlib.sha256("\0".join(question).encode()).hexdigest()[:16]
    first = 0
    if token:
        found = _TOKEN.fullmatch(token)
        if found is None or found[2] != digest:
            raise PageTokenError("is not the next_page_token of a page of the same query and category")
        first = int(found[1])
    last = first + size
    return entries[first:last], f"{last}-{digest}" if last < len(entries) else ""
