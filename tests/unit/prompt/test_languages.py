import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.prompt.lexicon import load

LANGUAGES = load().languages


@pytest.mark.parametrize(
    ("prompt", "language"),
    [
        ("a cat on the roof", "en"),
        ("red car", "en"),
        ("a turtle swimming in clear water", "en"),
        ("ein rotes Auto im Regen", "de"),
        ("un chat sur une table", "fr"),
        ("un gato en la playa", "es"),
        ("un gatto nel giardino con una palla", "it"),
        ("um gato na praia", "pt"),
        ("een kat op het dak", "nl"),
        ("kot na dachu i pies w ogrodzie", "pl"),
        ("bir kedi ve k\u00f6pek", "tr"),
        ("en katt p\u00e5 taket", "sv"),
        ("\u7b11\u3046\u732b", "ja"),
        ("\u4e00\u53ea\u5fae\u7b11\u7684\u732b", "zh"),
        ("\uc6c3\ub294 \uace0\uc591\uc774", "ko"),
        ("\u043a\u043e\u0442 \u043d\u0430 \u043a\u0440\u044b\u0448\u0435", "ru"),
        ("\u043a\u0456\u0442 \u043d\u0430 \u0434\u0430\u0445\u0443", "uk"),
        ("\u0642\u0637\u0629 \u062a\u0628\u062a\u0633\u0645", "ar"),
        ("\u05d7\u05ea\u05d5\u05dc \u05de\u05d7\u05d9\u05d9\u05da", "he"),
        (
            "\u092e\u0941\u0938\u094d\u0915\u0941\u0930\u093e\u0924\u0940 \u092c\u093f\u0932\u094d\u0932\u0940",
            "hi",
        ),
        ("\u03bc\u03b9\u03b1 \u03b3\u03ac\u03c4\u03b1", "el"),
        ("\u0e41\u0e21\u0e27\u0e22\u0e34\u0e49\u0e21", "th"),
        ("a neon sign that says \u732b in a rainy street", "en"),
        ("\u7b11\u732b\u306e photo", "ja"),
        ("la tour Eiffel", ""),
        ("xyzzy", ""),
        ("123 !?", ""),
    ],
)
def test_languages(prompt: str, language: str) -> None:
    assert LANGUAGES.of(prompt) == language


@given(st.text(max_size=200))
def test_any_text_has_a_known_language_or_none(text: str) -> None:
    known = {*LANGUAGES.words, *(script.language for script in LANGUAGES.scripts), ""}
    assert LANGUAGES.of(text) in known
