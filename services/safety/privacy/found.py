"""What was found in a text, and where."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Kinds of personal data; their names stand in pseudonyms and in answers."""

    NAME = "NAME"
    EMAIL = "EMAIL"
    PHONE = "PHONE"
    ADDRESS = "ADDRESS"
    CARD = "CARD"
    IBAN = "IBAN"
    PASSPORT = "PASSPORT"
    IP_ADDRESS = "IP_ADDRESS"
    SECRET = "SECRET"  # noqa: S105 - a kind of data
    CREDENTIALS = "CREDENTIALS"
    BIRTH_DATE = "BIRTH_DATE"


@dataclass(frozen=True)
class Found:
    """Personal data in a text: characters `start` up to `end`, not included.

    `score` in [0, 1] says how sure the recogniser is, its context counted; `recogniser` is its name.
    """

    kind: Kind
    start: int
    end: int
    score: float
    recogniser: str

    @property
    def length(self) -> int:
        """How many characters it covers."""
        return self.end - self.start

    def overlaps(self, other: "Found") -> bool:
        """Tell whether the two share a character."""
        return self.start < other.end and other.start < self.end
