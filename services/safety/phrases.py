"""Words and phrases that are meant literally, found however they are spaced and cased."""

import re
from dataclasses import dataclass

from services.safety.normalisation import Disguises

_GAP = r"[\s\-_]+"
_TAKEN_OUT = " ~ "


@dataclass(frozen=True)
class Phrase:
    """A phrase to search in a text's plain spelling, or, when `native`, in the text in its own letters.

    `words` is its regular expression without the borders of words that `pattern` asks for besides.
    """

    pattern: re.Pattern[str]
    native: bool
    words: str

    @classmethod
    def of(cls, text: str, disguises: Disguises) -> "Phrase":
        """Fold a phrase as the texts are folded that it will be looked for in.

        Raises ValueError for a phrase that holds no letter or digit.
        """
        own = disguises.native(text)
        folded = own[0] if own else disguises.plain(text)
        if not any(character.isalnum() for character in folded):
            raise ValueError("must hold a letter or a digit")
        words = _GAP.join(re.escape(word) for word in re.split(_GAP, folded) if word)
        return cls(re.compile(words if own else rf"(?<![a-z0-9]){words}(?![a-z0-9])"), bool(own), words)

    def taken_out(self, text: str) -> str:
        """Return a text without this phrase."""
        return self.pattern.sub(_TAKEN_OUT, text)
