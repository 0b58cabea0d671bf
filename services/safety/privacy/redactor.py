"""What reads a text with everything that is at hand: the recognisers always, the language model where it is installed."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from services.safety.privacy.found import Found
from services.safety.privacy.names import NameModel
from services.safety.privacy.pseudonyms import Redacted, redact
from services.safety.privacy.reading import read
from services.safety.privacy.recogniserbook import load
from services.safety.privacy.recognition import RecogniserSet


@dataclass(frozen=True)
class Redactor:
    """Finds and replaces personal data. `checks` names what looks for it."""

    recognisers: RecogniserSet
    names: NameModel | None = None

    @property
    def checks(self) -> Sequence[str]:
        """Names and versions, as answers carry them."""
        return [self.recognisers.checker, *([] if self.names is None else [self.names.checker])]

    def find(self, text: str) -> list[Found]:
        """Return what is personal in a text: finds that share no character, in its order."""
        reading = read(text)
        marked = () if self.names is None else self.names.spans(reading.plain)
        return self.recognisers.find(reading, marked)

    def redact(self, text: str) -> Redacted:
        """Return the text with pseudonyms in the place of what was found."""
        return redact(text, self.find(text))


@cache
def shipped() -> Redactor:
    """Return what this installation has, made once a process; it takes up to seconds, so call it off the event loop."""
    return Redactor(load(), NameModel.installed())
