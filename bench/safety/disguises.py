"""How people hide words from filters, each as a function of the text that is hidden."""

import base64
from collections.abc import Callable

LEETSPEAK = str.maketrans("aeiost", "43105" + "7")
CYRILLIC = str.maketrans("aceopxyi", "асеорхуі")
ZERO_WIDTH = "\u200b"
FULL_WIDTH = {code: code - 0x21 + 0xFF01 for code in range(0x21, 0x7F)}


def spaced(text: str) -> str:
    """Write each word letter by letter, with wider gaps between words."""
    return "   ".join(" ".join(word) for word in text.split())


def dotted(text: str) -> str:
    """Set a dot between the letters of each word."""
    return " ".join(".".join(word) for word in text.split())


def weighted(text: str) -> str:
    """Give each word a weight, as some models read it."""
    return " ".join(f"({word}:1.2)" for word in text.split())


def encoded(text: str) -> str:
    """Ask for what a base64 text says."""
    return "draw this: " + base64.b64encode(text.encode()).decode()


DISGUISES: dict[str, Callable[[str], str]] = {
    "leetspeak": lambda text: text.translate(LEETSPEAK),
    "homoglyphs": lambda text: text.translate(CYRILLIC),
    "zero width": ZERO_WIDTH.join,
    "full width": lambda text: text.translate(FULL_WIDTH),
    "accents": lambda text: "".join(f"{letter}\u0301" if letter in "aeiou" else letter for letter in text),
    "spaced": spaced,
    "dotted": dotted,
    "slashes": lambda text: text.replace(" ", "/"),
    "weighted": weighted,
    "base64": encoded,
    "reversed": lambda text: text[::-1],
}
