"""Checks beyond a pattern: whether what looks like personal data can be it.

Each check takes the matched text and returns how many of its characters, from the first, are what it looks like; 0 says
that it is not. A check that cannot cut returns all or nothing.
"""

import base64
import binascii
import ipaddress
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

Check = Callable[[str], int]

_OLDEST = 1900  # who was born before is not alive
_NEWEST = 2100
_LEAST_ENTROPY = 3.0  # bits a character; words of a language and placeholders lie below, random keys above
_WEIGHTS = (7, 3, 1)  # of a travel document's check digits (ICAO 9303-3, 4.9)
_DIGIT_GROUPS = re.compile(r"\d+")
_PHONE_DIGITS = range(7, 16)  # E.164 allows 15; the shortest numbers that people write have 7


@dataclass(frozen=True)
class Tables:
    """What the checks look up.

    `iban` maps a country to the length of its IBANs (ISO 13616 registry), `cards` an issuer's prefix range, first and
    last, to the lengths of its numbers (ISO/IEC 7812), `calling` holds the country codes of E.164, `months` maps the
    names of months to their numbers, `no_names` holds words in lower case that follow a title or a name and are none,
    `files` the endings of files' names that no domain has.
    """

    iban: Mapping[str, int]
    cards: Sequence[tuple[str, str, Sequence[int]]]
    calling: frozenset[str]
    months: Mapping[str, int]
    no_names: frozenset[str]
    files: frozenset[str]

    def checks(self) -> dict[str, Check]:
        """Return every check by its name."""
        return {
            "email": self.email,
            "card": self.card,
            "iban": self.iban_length,
            "ipv4": ipv4,
            "ipv6": ipv6,
            "international": self.international,
            "national": national,
            "birth": self.birth,
            "random": random,
            "jwt": jwt,
            "document": document,
            "zone": zone,
            "password": password,
            "name": self.name,
            "full_name": self.full_name,
        }

    def email(self, text: str) -> int:
        """Check that the domain ends like none of a file, such as `icon@2x.png`, and that no dots stand side by side."""
        return 0 if ".." in text or text.rpartition(".")[2].lower() in self.files else len(text)

    def card(self, text: str) -> int:
        """Check issuer, length and check digit of a payment card's number; figures that follow it are cut off."""
        digits = _digits(text)
        lengths = {
            length
            for first, last, known in self.cards
            if first <= digits[: len(first)] <= last
            for length in known
        }
        places = [place for place, character in enumerate(text, 1) if character.isdigit()] if lengths else []
        for length in sorted(lengths, reverse=True):  # an expiry behind it may look like more of it
            number = digits[:length]
            if len(number) == length and len(set(number)) > 1 and luhn(number):
                end = places[length - 1]
                if not text[end : end + 1].isdigit():
                    return end
        return 0

    def iban_length(self, text: str) -> int:
        """Check an IBAN by its country's length and its remainder; words that follow it are cut off."""
        wanted = self.iban.get(text[:2].upper(), 0)
        if not wanted:
            return 0
        places = [place for place, character in enumerate(text, 1) if character.isalnum()][:wanted]
        if len(places) < wanted or text[places[-1] : places[-1] + 1].isalnum():
            return 0
        letters = "".join(text[place - 1] for place in places).upper()
        return places[-1] if mod97(letters) == 1 else 0

    def international(self, text: str) -> int:
        """Check a telephone number that begins with `+` or `00` and a country code."""
        digits = _digits(text)
        digits = digits[2:] if text.lstrip("(").startswith("00") else digits
        known = any(digits[:length] in self.calling for length in (1, 2, 3))
        return len(text) if known and 8 <= len(digits) <= 15 else 0

    def birth(self, text: str) -> int:
        """Check that a date is in the calendar and that who was born on it may be alive."""
        numbers = [int(group) for group in _DIGIT_GROUPS.findall(text)]
        if len(numbers) == 3 and max(numbers) < 100:
            numbers[2] += _OLDEST
        if len(numbers) == 2:  # the month is a word
            words = re.findall(r"[^\W\d_]+", text.casefold())
            month = next((self.months[word] for word in words if word in self.months), 0)
            numbers.insert(1, month)
        if len(numbers) != 3:
            return 0
        one, two, three = numbers
        readings = ((one, two, three), (three, two, one), (three, one, two))
        return len(text) if any(_is_date(*reading) for reading in readings) else 0

    def name(self, text: str) -> int:
        """Check that no word of a name is one that follows names and is none; from such a word on it is cut off."""
        end = 0
        for word in re.finditer(r"\S+", text):
            if word[0].casefold().strip(".,") in self.no_names:
                break
            end = word.end()
        words = text[:end].split()
        return end if words and (len(words) > 1 or len(text.split()) == 1) else 0

    def full_name(self, text: str) -> int:
        """Check a name that nothing speaks for but a guess: two words or more, of letters, each with a capital."""
        end = self.name(text)
        words = text[:end].split()
        whole = all(word[0].isupper() and not re.search(r"[^\w'’.-]|\d|_", word) for word in words)
        return end if whole and len(words) > 1 else 0


def luhn(digits: str) -> bool:
    """Tell whether the last digit checks the others (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def mod97(iban: str) -> int:
    """Return the remainder of an IBAN in capitals without gaps; 1 says that it is right (ISO 7064)."""
    turned = iban[4:] + iban[:4]
    if not turned.isascii() or not turned.isalnum():
        return 0
    return int("".join(str(int(character, 36)) for character in turned)) % 97


def ipv4(text: str) -> int:
    """Check an IPv4 address, with or without a prefix length; those that name no machine of anybody are none."""
    return len(text) if _is_somebodys(text) else 0


def ipv6(text: str) -> int:
    """Check an IPv6 address. A short form needs three groups: `a::b` is a weighted prompt or a name in a program."""
    groups = [group for group in text.partition("%")[0].split(":") if group]
    return len(text) if len(groups) >= 3 and _is_somebodys(text) else 0


def national(text: str) -> int:
    """Check a telephone number without a country code: 7 to 15 digits, not all the same, and no date or years."""
    digits = _digits(text)
    groups = _DIGIT_GROUPS.findall(text)
    dated = len(groups) in (2, 3) and any(
        _OLDEST <= int(group) < _NEWEST for group in groups if len(group) == 4
    )
    plausible = len(digits) in _PHONE_DIGITS and len(set(digits)) > 1
    return len(text) if plausible and not (dated and len(digits) == 8) else 0


def random(text: str) -> int:
    """Check that characters look drawn by lot: their entropy reaches 3 bits, and they are no placeholder."""
    return len(text) if entropy(text) >= _LEAST_ENTROPY else 0


def entropy(text: str) -> float:
    """Return the Shannon entropy of a text's characters in bits a character; 0 for an empty text."""
    return -sum(count / len(text) * math.log2(count / len(text)) for count in Counter(text).values())


def password(text: str) -> int:
    """Check that a word is no word of a language: it has letters, and digits or signs that words do not have."""
    letters = any(character.isalpha() for character in text)
    others = any(not character.isalpha() and character not in "-.'’()!?:" for character in text)
    return len(text) if letters and others else 0


def jwt(text: str) -> int:
    """Check that the first part of a token is a header in JSON that names an algorithm (RFC 7515)."""
    head = text.partition(".")[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (binascii.Error, ValueError):
        return 0
    return len(text) if isinstance(header, dict) and "alg" in header else 0


def document(text: str) -> int:
    """Check the number of a travel document: it has at least five digits, and not one digit alone."""
    digits = _digits(text)
    return len(text) if len(digits) >= 5 and len(set(digits)) > 1 else 0


def zone(text: str) -> int:
    """Check the number, the birth date and the expiry in the second line of a passport's machine-readable zone."""
    fields = ((text[0:9], text[9]), (text[13:19], text[19]), (text[21:27], text[27]))
    return len(text) if all(_check_digit(field) == digit for field, digit in fields) else 0


def _check_digit(field: str) -> str:
    values = (0 if character == "<" else int(character, 36) for character in field)
    return str(sum(value * _WEIGHTS[place % 3] for place, value in enumerate(values)) % 10)


def _digits(text: str) -> str:
    return "".join(character for character in text if character.isdigit())


def _is_date(year: int, month: int, day: int) -> bool:
    try:
        return _OLDEST <= date(year, month, day).year < _NEWEST
    except ValueError:
        return False


def _is_somebodys(text: str) -> bool:
    try:
        address = ipaddress.ip_interface(text).ip
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified or address.is_multicast)
