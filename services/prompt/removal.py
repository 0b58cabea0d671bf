"""A prompt without words that were objected to."""

import re
from collections.abc import Iterable

from services.prompt.wording import written

# What is left where words were taken out: blanks and commas around nothing.
_SEAMS = (
    (re.compile(r"\s+([,;.!?])"), r"\1"),
    (re.compile(r"([,;])(?:\s*[,;])+"), r"\1"),
    (re.compile(r"\s{2,}"), " "),
    (re.compile(r"^[\s,;.!?]+|[\s,;]+$"), ""),
)


def without(prompt: str, spans: Iterable[str]) -> tuple[str, tuple[str, ...]]:
    """Return a prompt without spans of whole words, in any case and with any marks between, and those that were there.

    What none of them stands in comes back as it is.
    """
    left, removed = prompt, []
    for span in spans:
        # As they are written: lower case may have other letters, as `ss` for `ß`, which the prompt has not.
        words = [re.escape(word).replace("'", "['\u2019]") for word in written(span)]
        if not words:
            continue
        pattern = re.compile(r"(?<!\w)" + r"[\W_]+".join(words) + r"(?!\w)", re.IGNORECASE)
        left, count = pattern.subn(" ", left)
        if count:
            removed.append(span)
    if not removed:
        return prompt, ()
    for seam, mended in _SEAMS:
        left = seam.sub(mended, left)
    return left, tuple(removed)
