"""Recognisers: patterns read from data, each with a check and with the words that speak for and against it.

Pattern language: a regular expression in which `<name>` stands for an entry of the vocabulary; what a group `it` matched
is the find, else the whole. Every repetition in a pattern is bounded, so that the time for a text grows with its length.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.safety.privacy.found import Found, Kind
from services.safety.privacy.overlaps import resolve
from services.safety.privacy.reading import Reading
from services.safety.privacy.validation import Check, Tables

BEFORE, AFTER = 48, 24  # characters around a match in which words count
AGAINST = 0.5  # what a word against a find takes from its score
_ENTRY = re.compile(r"(?<!\(\?P)<([a-z_]+)>")
_IDEOGRAPHS = "\u2e80"  # from here on words are written without gaps


@dataclass(frozen=True)
class Recogniser:
    """Finds one kind of data in one shape. Scores are in [0, 1]: `score` alone, `supported` beside a word of `context`."""

    name: str
    kind: Kind
    pattern: re.Pattern[str]
    check: Check | None
    score: float
    supported: float
    context: re.Pattern[str] | None
    against: re.Pattern[str] | None

    def find(self, reading: Reading, least: float) -> Iterator[Found]:
        """Yield what the pattern matches and has at least the score `least`."""
        group = "it" if "it" in self.pattern.groupindex else 0
        spans = (match.span(group) for match in self.pattern.finditer(reading.plain))
        return self.judge(reading, spans, least)

    def judge(self, reading: Reading, spans: Iterable[tuple[int, int]], least: float) -> Iterator[Found]:
        """Yield those of the spans, whoever marked them, that pass the check and have at least the score `least`."""
        plain = reading.plain
        for start, marked in spans:
            end = marked if self.check is None else start + self.check(plain[start:marked])
            if start == end:
                continue
            score = self._score(plain[max(0, start - BEFORE) : start], plain[end : end + AFTER])
            if score >= least:
                yield Found(self.kind, *reading.span(start, end), score, self.name)

    def _score(self, before: str, after: str) -> float:
        if self.context is not None and (self.context.search(before) or self.context.search(after)):
            return self.supported
        if self.against is not None and (self.against.search(before) or self.against.search(after)):
            return self.score - AGAINST
        return self.score


@dataclass(frozen=True)
class RecogniserSet:
    """All recognisers of a version; a find counts from the score `least` on. `marked` judges what a model marked."""

    version: str
    least: float
    recognisers: Sequence[Recogniser]
    marked: Recogniser

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> "RecogniserSet":
        """Read what `recognisers.yaml` holds; raises ValueError naming the recogniser that is wrong."""
        tables = _tables(data["tables"])
        vocabulary = {name: _group(entry) for name, entry in data["vocabulary"].items()}
        words = {name: _words(entry) for name, entry in data["words"].items()}
        checks = tables.checks()
        recognisers = [_recogniser(entry, vocabulary, words, checks) for entry in data["recognisers"]]
        if silent := set(Kind) - {each.kind for each in recognisers}:
            raise ValueError(f"recognisers: none for {sorted(silent)}")
        marked = _recogniser({**data["marked"], "pattern": ""}, vocabulary, words, checks)
        return cls(str(data["version"]), float(data["least"]), recognisers, marked)

    @property
    def checker(self) -> str:
        """Name and version, as answers carry it."""
        return f"privacy-rules/{self.version}"

    def find(self, reading: Reading, marked: Iterable[tuple[int, int]] = ()) -> list[Found]:
        """Return what is personal in a text: finds that share no character, in its order.

        `marked` are names that a model marked in the folded text, as starts and ends.
        """
        found = [one for each in self.recognisers for one in each.find(reading, self.least)]
        return resolve((*found, *self.marked.judge(reading, marked, self.least)))


def _recogniser(
    entry: Mapping[str, Any],
    vocabulary: Mapping[str, str],
    words: Mapping[str, re.Pattern[str]],
    checks: Mapping[str, Check],
) -> Recogniser:
    name = entry.get("name", "without a name")
    try:
        score, supported = float(entry["score"]), float(entry.get("supported", entry["score"]))
        if not 0 <= score <= supported <= 1:
            raise ValueError("scores must be in [0, 1], and `supported` not below `score`")
        return Recogniser(
            name,
            Kind(entry["kind"]),
            re.compile(_expand(entry["pattern"], vocabulary), re.IGNORECASE if entry.get("any_case") else 0),
            checks[entry["check"]] if "check" in entry else None,
            score,
            supported,
            words[entry["context"]] if "context" in entry else None,
            words[entry["against"]] if "against" in entry else None,
        )
    except (KeyError, TypeError, ValueError, re.error) as error:
        raise ValueError(f"recogniser {name}: {error}") from error


def _tables(data: Mapping[str, Any]) -> Tables:
    cards = [
        (str(first), str(last), tuple(lengths))
        for first, last, lengths in ((each["from"], each["to"], each["lengths"]) for each in data["cards"])
    ]
    months = {
        name: number for number, names in data["months"].items() for name in str(names).casefold().split()
    }
    calling, no_names, endings = (
        frozenset(str(data[name]).split()) for name in ("calling", "no_names", "files")
    )
    return Tables(dict(data["iban"]), cards, calling, months, no_names, endings)


def _expand(pattern: str, vocabulary: Mapping[str, str]) -> str:
    return _ENTRY.sub(lambda match: _expand(vocabulary[match[1]], vocabulary), pattern)


def _group(entry: str | Sequence[str]) -> str:
    """Return a vocabulary entry as a pattern: a text as it is, a list as alternatives."""
    return entry if isinstance(entry, str) else f"(?:{'|'.join(entry)})"


def _words(entry: Sequence[str]) -> re.Pattern[str]:
    """Compile words in any case; one that ends in `*` may go on."""
    return re.compile("|".join(_word(word) for line in entry for word in line.split(", ")), re.IGNORECASE)


def _word(word: str) -> str:
    stem = word.removesuffix("*")
    begin = r"(?<!\w)" if stem[0].isalnum() and stem[0] < _IDEOGRAPHS else ""
    end = r"(?!\w)" if stem == word and stem[-1].isalnum() and stem[-1] < _IDEOGRAPHS else ""
    return f"{begin}{re.escape(stem)}{end}"
