"""How well personal data is found and how long it takes: `python bench/privacy.py [--half tune] [--misses]`.

A labelled piece counts as found when a find of its kind covers all of it; a find counts as right when it shares
characters with a piece of its kind. `harmless` is the share of the texts without personal data that stayed as they were.
What is reported is the half of the texts that nothing was tuned on; a hash of a text says which half it belongs to.
"""

import argparse
import hashlib
import re
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from services.safety.privacy.found import Found, Kind
from services.safety.privacy.redactor import shipped

TEXTS = Path(__file__).with_name("privacy_texts.txt")
PIECE = re.compile(r"\[\[([A-Z_]+)\|(.*?)\]\]")
HALVES = ("tune", "report")
ROUNDS = 5
LONG = 8000


@dataclass(frozen=True)
class Labelled:
    """A text and the personal data in it."""

    text: str
    pieces: tuple[Found, ...]

    @classmethod
    def parse(cls, line: str) -> "Labelled":
        """Read `words [[KIND|words]] words`."""
        text, pieces, end = "", [], 0
        for match in PIECE.finditer(line):
            text += line[end : match.start()]
            pieces.append(Found(Kind(match[1]), len(text), len(text) + len(match[2]), 1.0, "label"))
            text, end = text + match[2], match.end()
        return cls(text + line[end:], tuple(pieces))

    @property
    def half(self) -> str:
        """`tune` or `report`, whatever stands around it in the file."""
        return HALVES[hashlib.sha256(self.text.encode()).digest()[0] % 2]


def labelled(half: str = "") -> Iterator[Labelled]:
    """Yield the labelled texts of a half, or all of them."""
    for line in TEXTS.read_text("utf-8").splitlines():
        if not line.startswith("# "):
            one = Labelled.parse(line)
            if half in ("", one.half):
                yield one


@dataclass
class Tally:
    """Counts by kind: pieces labelled and covered, finds and those that are right; texts without data, and untouched."""

    labels: Counter[Kind] = field(default_factory=Counter)
    covered: Counter[Kind] = field(default_factory=Counter)
    finds: Counter[Kind] = field(default_factory=Counter)
    right: Counter[Kind] = field(default_factory=Counter)
    harmless: int = 0
    untouched: int = 0

    def count(self, text: Labelled) -> None:
        """Let the recognisers read a text and count what came of it."""
        found = shipped().find(text.text)
        self.harmless += not text.pieces
        self.untouched += not text.pieces and not found
        for piece in text.pieces:
            self.labels[piece.kind] += 1
            self.covered[piece.kind] += any(_covers(one, piece) for one in found)
        for one in found:
            self.finds[one.kind] += 1
            self.right[one.kind] += any(one.kind is each.kind and one.overlaps(each) for each in text.pieces)

    def table(self, half: str) -> Table:
        """Return the figures, a row for each kind and one for all."""
        table = Table("kind", "labelled", "found", "recall", "finds", "right", "precision", title=half)
        for kind in (*Kind, None):
            labels, covered, finds, right = (
                counter.total() if kind is None else counter[kind]
                for counter in (self.labels, self.covered, self.finds, self.right)
            )
            shares = (covered, labels), (right, finds)
            recall, precision = (f"{part / whole:.2f}" if whole else "" for part, whole in shares)
            row = (labels, covered, recall, finds, right, precision)
            table.add_row(kind or "all", *(str(cell) for cell in row))
        table.caption = f"harmless: {self.untouched} of {self.harmless} texts untouched"
        return table


def _covers(find: Found, piece: Found) -> bool:
    return find.kind is piece.kind and find.start <= piece.start and piece.end <= find.end


def misses(texts: list[Labelled]) -> Iterator[str]:
    """Yield a line for each text that did not come out as it was labelled."""
    for each in texts:
        found = shipped().find(each.text)
        told = [(one.kind, each.text[one.start : one.end]) for one in found]
        wanted = [(piece.kind, each.text[piece.start : piece.end]) for piece in each.pieces]
        if told != wanted:
            yield f"{each.text}\n    {[f'{kind}: {words}' for kind, words in told]}"


def milliseconds(text: str) -> float:
    """Return how long one text takes, the middle of a few turns."""
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        shipped().redact(text)
        taken.append(1000 * (time.perf_counter() - began))
    return statistics.median(taken)


def main() -> None:
    """Print the table, and with `--misses` what went wrong: look at the half for tuning alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--half", choices=HALVES, default="report")
    parser.add_argument("--misses", action="store_true")
    chosen = parser.parse_args()
    texts = list(labelled(chosen.half))
    console = Console(width=110)
    tally = Tally()
    for each in texts:
        tally.count(each)
    console.print(tally.table(f"{len(texts)} texts of the half `{chosen.half}`"))
    taken = [milliseconds(each.text) for each in texts]
    quantiles = statistics.quantiles(taken, n=100)
    long = " ".join(each.text for each in texts)[:LONG]
    console.print(
        f"ms a text: P50 {quantiles[49]:.2f}, P99 {quantiles[98]:.2f}; one of {len(long)} characters {milliseconds(long):.0f}"
    )
    if chosen.misses:
        for line in misses(texts):
            console.print(line, markup=False, highlight=False)


if __name__ == "__main__":
    main()
