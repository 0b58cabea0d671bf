"""What a text reads as: the spellings that a person sees in it, whatever characters were used to write them.

`plain` folds a text to lower-case Latin letters without hidden characters. `spellings` adds what disguised words read
as: digits for letters, words spelled out with gaps or signs, letters repeated or masked. Everything here is linear in
the length of the text, and the number of spellings is bounded.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MASK_VOWELS = "aeiou"  # what a masked letter may be: people mask vowels, as in p*rn

# Tag characters carry hidden ASCII. In a flag emoji, which starts with a black flag, they name a region.
_FLAG_EMOJI = re.compile("\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f")
_TAGS = {0xE0000 + code: code for code in range(0x20, 0x7F)}
# Letters on coloured squares and circles and regional indicators: NFKC leaves them alone.
_EMOJI_LETTERS = {
    start + index: ord("a") + index for start in (0x1F150, 0x1F170, 0x1F1E6) for index in range(26)
}
# Two formulas of honour that are one character each and fold to 18 and 8: a text of them would grow as much.
_FORMULAS = dict.fromkeys((0xFDFA, 0xFDFB), ord(" "))
_INVISIBLE = frozenset({"Cf", "Cc", "Mn", "Me", "Cs", "Co", "Cn"})
_BLANK_LETTERS = frozenset(
    "\u115f\u1160\u3164\uffa0\u17b4\u17b5\u2800"
)  # drawn as nothing, though they count as letters
_BREAKS = frozenset("\t\n\r\v\f\x1c\x1d\x1e\x1f\x85\u2028\u2029")
_NATIVE = re.compile(r"[\u0370-\ufdff]")  # the first letters that are not Latin, to the last before symbols
_NATIVE_GAP = re.compile(r"(?<=[\u0370-\ufdff])[\s\W_]+(?=[\u0370-\ufdff])")
_GAP = re.compile(r"\s(\s*)")
_SPELLED = re.compile(r"(?<![a-z0-9])[a-z0-9@$](?:(?: | ?[^a-z0-9\s] ?)?[a-z0-9@$](?![a-z0-9]))+")
_INNER_SIGN = re.compile(r"(?<=[a-z0-9])[^a-z0-9\s](?=[a-z0-9])")
# What stands between words and is no break between them, as in kill/all, `kill` `all`, and weights of words: (kill:1.2).
_WEIGHT = re.compile(r":\d*\.?\d+(?=\s*[)\]}])")
_BETWEEN = re.compile(r"(?:_|[^\w\s.,;:!?'\-@$])+|(?<=[a-z])[.,;:](?=[a-z])|(?<!\w)'|'(?!\w)")
_MASKED = re.compile(r"(?<![a-z])[a-z]++[*#%?][a-z*#%?]*[a-z]")  # from a word's first letter on, once
_MASK = re.compile(r"[*#%?]")
_LEET_WORDS = (
    3  # words that mix digits with letters, from which on numbers are read as letters too: `h0w 70 r0b`
)
_LONG_RUN = re.compile(r"([a-z])\1{2,}")
_ALL_BUT_TWO = re.compile(r"([a-z])(?=\1\1)")
_ALL_BUT_ONE = re.compile(r"([a-z])(?=\1)")


@dataclass(frozen=True)
class Disguises:
    """Tables of look-alikes: a character to the letters that it is read as, and to its readings in leetspeak."""

    homoglyphs: Mapping[int, str]
    leetspeak: Sequence[Mapping[int, str]]

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> "Disguises":
        """Read `{homoglyphs: {character: letters}, leetspeak: {character: [letter, ...]}}`."""
        homoglyphs = {ord(character): letters for character, letters in data["homoglyphs"].items()}
        readings = data["leetspeak"]
        depth = max(len(letters) for letters in readings.values())
        tables = [
            {ord(character): letters[min(index, len(letters) - 1)] for character, letters in readings.items()}
            for index in range(depth)
        ]
        return cls(homoglyphs, tables)

    def plain(self, text: str) -> str:
        """Return the text in lower-case Latin letters, without hidden characters and accents.

        A gap is one space, or two where it was wider: people who spell words out set them apart by wider gaps.
        """
        text = _FLAG_EMOJI.sub(" ", text).translate(_TAGS | _FORMULAS)
        for _ in range(2):  # what a look-alike stands for may need folding itself
            text = _visible(unicodedata.normalize("NFKD", text.translate(self.homoglyphs))).casefold()
        return _GAP.sub(lambda gap: "  " if gap[1] else " ", text.translate(_EMOJI_LETTERS)).strip()

    def native(self, text: str) -> list[str]:
        """Return the text in its own letters, folded, and without gaps inside words; empty when all of it is Latin."""
        folded = "".join(
            character
            for character in unicodedata.normalize("NFKC", text.translate(_FORMULAS)).casefold()
            if character in _BREAKS or unicodedata.category(character) not in _INVISIBLE
        )
        if not _NATIVE.search(folded):
            return []
        return list(dict.fromkeys((folded, _NATIVE_GAP.sub("", folded))))

    def spellings(self, plain: str) -> list[str]:
        """Return what a plain text may read as beside itself, each once, at most 61; empty when it has one reading."""
        found = dict.fromkeys(self._readings(plain))
        found.pop(plain, None)
        return list(found)

    def _readings(self, plain: str) -> Iterator[str]:
        unmasked = _MASKED.sub(_unmask, plain.replace("_", " "))
        whole, split = _SPELLED.sub(_join, unmasked), _SPELLED.sub(_join_after_article, unmasked)
        # A sign may be a mask, or too much.
        bare = (_INNER_SIGN.sub("", text) for text in (unmasked, plain))
        for joined in dict.fromkeys((unmasked, whole, split, *bare)):
            for letters in dict.fromkeys(
                (joined, *(_read_digits(joined, table) for table in self.leetspeak))
            ):
                yield letters
                yield _LONG_RUN.sub(lambda run: run[1], letters)
                yield _ALL_BUT_TWO.sub("", letters)
                yield _ALL_BUT_ONE.sub("", letters)
        yield _BETWEEN.sub(" ", _WEIGHT.sub("", plain))


def _visible(text: str) -> str:
    """Drop what is not drawn: controls, formats, accents, fillers; line breaks and tabs become spaces."""
    return "".join(
        " " if character in _BREAKS else character
        for character in text
        if character in _BREAKS
        or (unicodedata.category(character) not in _INVISIBLE and character not in _BLANK_LETTERS)
    )


def _read_digits(text: str, table: Mapping[int, str]) -> str:
    """Read digits and signs as letters in the words that mix them with letters; in all words where several do."""
    words = text.split(" ")
    mixed = [not word.isalpha() and any(letter.isalpha() for letter in word) for word in words]
    all_of_them = sum(mixed) >= _LEET_WORDS
    return " ".join(
        word.translate(table) if is_mixed or all_of_them else word
        for word, is_mixed in zip(words, mixed, strict=True)
    )


def _unmask(masked: re.Match[str]) -> str:
    """Return a masked word with each vowel in place of the masks."""
    return " ".join(_MASK.sub(vowel, masked[0]) for vowel in MASK_VOWELS)


def _join(spelled: re.Match[str]) -> str:
    """Join a word that is written letter by letter."""
    return "".join(character for character in spelled[0] if character.isalnum() or character in "@$")


def _join_after_article(spelled: re.Match[str]) -> str:
    """Join a word as `_join`, but take a leading `a` for a word of its own, as it may have stood nearer than it should."""
    letters = _join(spelled)
    return f"a {letters[1:]}" if letters[0] == "a" and len(letters) > 1 else letters
