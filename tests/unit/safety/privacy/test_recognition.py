"""What the recognisers find in a text, what they leave, and how long a hostile text may take them."""

import time
import unicodedata
from importlib.resources import files
from types import SimpleNamespace
from typing import ClassVar

import pytest
import yaml

from services.safety.privacy import names
from services.safety.privacy.found import Kind
from services.safety.privacy.names import NameModel
from services.safety.privacy.recogniserbook import load
from services.safety.privacy.recognition import RecogniserSet
from services.safety.privacy.redactor import Redactor, shipped


def found(text: str) -> list[tuple[str, str]]:
    return [(str(each.kind), text[each.start : each.end]) for each in shipped().find(text)]


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("mail to anna.schmidt@example.org.", "EMAIL", "anna.schmidt@example.org"),
        ("anna (at) example (dot) org", "EMAIL", "anna (at) example (dot) org"),
        ("call +49 30 1234567 now", "PHONE", "+49 30 1234567"),
        ("ring (415) 555-0132", "PHONE", "(415) 555-0132"),
        ("電話 03-1234-5678 まで", "PHONE", "03-1234-5678"),
        ("a flyer for 12 Elm Street, Springfield", "ADDRESS", "12 Elm Street, Springfield"),
        ("wohnt Lindenstraße 14, 10969 Berlin", "ADDRESS", "Lindenstraße 14, 10969 Berlin"),
        ("vit au 24 rue de la Paix, 75002 Paris", "ADDRESS", "24 rue de la Paix, 75002 Paris"),
        ("card 4111-1111-1111-1111 12/27", "CARD", "4111-1111-1111-1111"),
        ("pay de89 3704 0044 0532 0130 00 in May", "IBAN", "de89 3704 0044 0532 0130 00"),
        ("passport no. C01X00T47", "PASSPORT", "C01X00T47"),
        ("server at 81.2.69.142.", "IP_ADDRESS", "81.2.69.142"),
        ("from 2001:db8:85a3::8a2e:370:7334", "IP_ADDRESS", "2001:db8:85a3::8a2e:370:7334"),
        ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "SECRET", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"),
        ("password: hunter2!x", "SECRET", "hunter2!x"),
        ("git clone https://bob:pa55@example.com/x", "CREDENTIALS", "https://bob:pa55@example.com/x"),
        ("born 12 March 1984", "BIRTH_DATE", "12 March 1984"),
        ("né le 03/12/1984", "BIRTH_DATE", "03/12/1984"),
        ("my name is Anna Schmidt", "NAME", "Anna Schmidt"),
        ("portrait of Dr. Maria van Houten", "NAME", "Maria van Houten"),
    ],
)
def test_personal_data_is_found_to_the_character(text: str, kind: str, words: str) -> None:
    assert found(text) == [(kind, words)]


@pytest.mark.parametrize(
    "text",
    [
        "version 1.2.3.4 of the engine",
        "ISBN 978-3-16-148410-0 on the cover",
        "order 4111111111111112",  # the check digit is wrong
        "DE89 3704 0044 0532 0130 01",  # the remainder is wrong
        "a price tag of 1,299.99 USD",
        "the 192.168 range of the network",
        "icon@2x.png",
        "cat::2 bee::2 dog::-1",
        "built 12 March 1984",
        "127.0.0.1",
        "sk-aaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "the key is beautiful light",
        "in the style of Vincent van Gogh",
        "a fox on Hollywood Boulevard at 5 pm",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize("word", ["card", "tarjeta", "карта"])
def test_a_card_needs_no_word_and_is_found_in_any_writing(word: str) -> None:
    assert found(f"{word} 4111\u200b1111１１１１1111")[0][0] == "CARD"


@pytest.mark.parametrize(
    "text", ["mail to josé@example.com", "Müllerstraße 12, 10115 Berlin", "ich heiße Jürgen Müller"]
)
def test_accents_behind_their_letters_are_found_and_taken_with_them(text: str) -> None:
    composed, apart = unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)
    assert len(found(composed)) == 1
    assert [(kind, unicodedata.normalize("NFC", words)) for kind, words in found(apart)] == found(composed)


def test_a_card_is_found_whatever_marks_its_digits_bear() -> None:
    card = "4\ufe0f\u20e3" + "\ufe0f".join("111111111111111") + "\ufe0f"
    assert found(f"a {card} b") == [("CARD", card)]


@pytest.mark.parametrize(
    "piece",
    ["1 ", "0 ", "a:", "+1", "a@a.", "1.1.", "ABC<", "Anna Bo ", "ul. A ", "北京市", "eyJ", "(at)", "DE"],
)
def test_a_hostile_text_takes_bounded_time(piece: str) -> None:
    text = (piece * 8000)[:8000]
    shipped()
    began = time.thread_time()
    shipped().find(text)
    assert (
        time.thread_time() - began < 2.0
    )  # the worst of them takes 0.3 s; a pattern that explodes takes minutes


def test_a_recogniser_that_is_wrong_is_named() -> None:
    book = files("services.safety.privacy").joinpath("recognisers.yaml")
    data = yaml.safe_load(book.read_text("utf-8"))
    data["recognisers"][0]["pattern"] = "("
    with pytest.raises(ValueError, match=r"recogniser email\.plain"):
        RecogniserSet.parse(data)
    data["recognisers"] = [each for each in data["recognisers"] if each["kind"] != Kind.EMAIL]
    with pytest.raises(ValueError, match="EMAIL"):
        RecogniserSet.parse(data)


class Entity:
    """What a language model marks."""

    label_ = "PERSON"

    def __init__(self, text: str, words: str) -> None:
        self.start_char = text.index(words)
        self.end_char = self.start_char + len(words)


class Model:
    """A language model that knows two names."""

    meta: ClassVar = {"lang": "xx", "name": "known", "version": "1.0"}

    def __call__(self, text: str) -> SimpleNamespace:
        return SimpleNamespace(
            ents=[Entity(text, words) for words in ("Kwame Mensah", "Monet") if words in text]
        )


def test_a_language_model_adds_names_and_is_named() -> None:
    redactor = Redactor(load(), NameModel(Model()))
    assert redactor.checks == ["privacy-rules/1", "xx_known/1.0"]
    redacted = redactor.redact("Kwame\u200b Mensah, kwame@example.org, in the style of Claude Monet")
    assert redacted.text == "<NAME_1>, <EMAIL_1>, in the style of Claude Monet"
    assert redacted.originals["<NAME_1>"] == "Kwame\u200b Mensah"
    assert (
        redactor.redact("an azulejo, sha256 Ab1").kinds == []
    )  # it guesses; what is no full name is no find


def test_without_a_language_model_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "PACKAGE", "no_such_model")
    assert NameModel.installed() is None
    assert Redactor(load()).checks == ["privacy-rules/1"]
