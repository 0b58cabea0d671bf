"""Search for prompts that take the rules long: `python -m bench.safety.hostile [--texts 40] [--seed 1]`.

Prompts of 8,000 letters are made of the words that the rules know, in every disguise and in mixtures of them, of harmless
phrases that have to be taken out, in letters of other languages, and inside base64; the slowest of each kind are changed in
places, and what got slower is changed again. Processor seconds of one judgement are told, so that other work on the machine
counts little. The first judgement of a text is the slow one: what RE2 found out about it is remembered.
"""

import argparse
import base64
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.table import Table

from bench.safety.disguises import DISGUISES
from bench.safety.labelled import load
from services.safety.rulebook import load_rules, read
from services.safety.rules import RuleSet

LETTERS = 8000
CLIMBED = 3  # of the slowest of each kind, so many are changed
STEPS = 12
LEET = {"a": "4", "e": "3", "i": "1", "o": "0", "s": "5", "t": "7", "l": "1"}

Kind = Callable[[random.Random, "Words"], str]


class Words:
    """What hostile texts are made of: the words that the rules ask for, their exceptions, and labelled prompts."""

    def __init__(self) -> None:
        data, others = read("rules.yaml"), read("languages.yaml")
        self.asked = sorted(set(re.findall(r"[a-z]{2,}", f"{data['vocabulary']} {data['rules']}")))
        exceptions = [text for rule in data["rules"] for text in rule.get("exceptions", ())]
        self.excused = sorted({_plainest(text) for text in exceptions})
        self.native = sorted(set(re.findall(r"[^\W\da-z_]{2,}", str(others["native"]))))
        self.prompts = [prompt.text for prompt in load()]


def _plainest(pattern: str) -> str:
    """Return about the first text that a pattern matches."""
    text = pattern
    while (shorter := re.sub(r"\((?:\?:)?([^()|]*)(?:\|[^()]*)?\)\??", r"\1", text)) != text:
        text = shorter
    return re.sub(r"\\\w|[^a-z ]", "", text)


def filled(random_: random.Random, pieces: Sequence[str], change: Callable[[str], str] = str) -> str:
    """Return pieces in random order, each changed, up to the length that a prompt may have."""
    parts: list[str] = []
    length = 0
    while length < LETTERS:
        parts.append(change(random_.choice(pieces)))
        length += len(parts[-1]) + 1
    return " ".join(parts)[:LETTERS]


def disguised(random_: random.Random, word: str) -> str:
    """Return a word with some of its letters as digits, doubled, masked or set apart, whatever comes."""
    letters = [LEET.get(letter, letter) if random_.random() < 0.4 else letter for letter in word]
    letters = [letter * random_.choice((1, 1, 1, 2, 3)) for letter in letters]
    if random_.random() < 0.4 and len(letters) > 2:
        letters[1] = "*"
    return random_.choice(("", "", "", ".", " ", "  ")).join(letters)


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()[: LETTERS * 3 // 4]).decode()


KINDS: dict[str, Kind] = {
    "words of the rules": lambda r, w: filled(r, w.asked),
    "all disguises mixed": lambda r, w: filled(r, w.asked, lambda word: disguised(r, word)),
    "masked": lambda r, w: filled(r, w.asked, lambda word: f"{word[0]}*{word[1:]}1"),
    "harmless phrases": lambda r, w: filled(r, w.excused),
    "harmless phrases and masks": lambda r, w: filled(
        r, [*w.excused, *(f"{word[0]}*{word[1:]}1" for word in w.asked)]
    ),
    "prompts": lambda r, w: filled(r, w.prompts),
    "in other letters": lambda r, w: filled(r, w.native),
    "in other letters, glued": lambda r, w: r.choice(w.native) * r.randint(1, 500) + "_" * LETTERS,
    "noise": lambda r, w: filled(r, ["".join(r.choices("abcdeiost013*.$@- ", k=40)) for _ in range(300)]),
    "in base64": lambda r, w: _encoded(filled(r, w.excused, lambda text: disguised(r, text))),
    "in base64 twice": lambda r, w: _encoded(_encoded(filled(r, w.asked, lambda text: disguised(r, text)))),
    **{
        f"prompts, {name}": lambda r, w, disguise=disguise: disguise(filled(r, w.prompts))[:LETTERS]
        for name, disguise in DISGUISES.items()
        if name != "base64"
    },
}


def seconds(rules: RuleSet, text: str) -> float:
    """Return the processor time of judging a text."""
    started = time.process_time()
    rules.check(text)
    return time.process_time() - started


def changed(random_: random.Random, text: str, words: Words) -> str:
    """Return a text with a few pieces replaced by others."""
    for _ in range(8):
        at, piece = random_.randrange(LETTERS), disguised(random_, random_.choice(words.asked))
        text = text[:at] + piece + text[at + len(piece) :]
    return text[:LETTERS]


def searched(rules: RuleSet, words: Words, texts: int, seed: int) -> Iterator[tuple[str, list[float]]]:
    """Yield for each kind how long its texts took, rising, with those that were climbed to."""
    random_ = random.Random(seed)
    for name, kind in KINDS.items():
        taken = sorted(
            (seconds(rules, text), text) for text in (kind(random_, words)[:LETTERS] for _ in range(texts))
        )
        for worst, text in taken[-CLIMBED:]:
            for _ in range(STEPS):
                other = changed(random_, text, words)
                if (spent := seconds(rules, other)) > worst:
                    worst, text = spent, other
                taken.append((spent, other))
        yield name, sorted(spent for spent, _ in taken)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--texts", type=int, default=40, help="texts of each kind, before the slowest are changed"
    )
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    table = Table("8,000 letters", "texts", "P50, ms", "worst, ms", title="processor time of one judgement")
    for name, taken in searched(load_rules(), Words(), given.texts, given.seed):
        median, worst = (1000 * value for value in (taken[len(taken) // 2], taken[-1]))
        table.add_row(name, str(len(taken)), f"{median:.0f}", f"{worst:.0f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
