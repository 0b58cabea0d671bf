import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.prompt.analysis import analyse
from services.prompt.lexicon import load
from services.prompt.wording import Wording

LEXICON = load()


@pytest.mark.parametrize(
    ("prompt", "subject"),
    [
        ("a smiling cat", "a smiling cat"),
        ("a picture of a smiling cat", "a smiling cat"),
        ("please draw me a watercolor painting of a fox in the snow.", "a fox in the snow"),
        ("Could you generate an image of two dogs playing chess", "two dogs playing chess"),
        ("I want to see a red car", "a red car"),
        ("pixel art of a dragon, limited palette", "a dragon"),
        ("cinematic, golden hour, a lone astronaut on mars", "a lone astronaut on mars"),
        ("soft lighting, a teapot", "a teapot"),
        ("two dogs in the style of van gogh", "two dogs"),
        ("a lighthouse in watercolor style", "a lighthouse"),
        ("logo for a coffee shop", "a coffee shop"),
        ("isometric tiny kitchen", "tiny kitchen"),
        ("watercolor", "watercolor"),
        ("golden hour", "golden hour"),
        ("...", "..."),
        ("\u7b11\u3046\u732b", "\u7b11\u3046\u732b"),
    ],
)
def test_subject(prompt: str, subject: str) -> None:
    assert analyse(prompt, LEXICON).subject == subject


@pytest.mark.parametrize("between", [" ", "\t", " \u00a0"])
def test_a_prompt_of_blanks_is_read_as_fast_as_one_of_words(between: str) -> None:
    prompt = f"a cat{between * (3990 // len(between))}b"
    started = time.thread_time()
    assert analyse(prompt, LEXICON).subject == "a cat b"
    assert time.thread_time() - started < 0.2


@pytest.mark.parametrize(
    ("prompt", "missing"),
    [
        ("a cat", ("medium", "lighting", "composition", "background", "color", "detail", "mood")),
        ("a photo of a cat", ("lighting", "composition", "camera", "background", "color", "detail", "mood")),
        ("a black cat at night in a forest, close-up, detailed ink drawing, eerie", ()),
        ("a calm black cat at night in a forest, close-up, detailed photo, 85mm", ()),
    ],
)
def test_missing(prompt: str, missing: tuple[str, ...]) -> None:
    assert analyse(prompt, LEXICON).missing == missing


def test_said() -> None:
    prompt = "A moody black-and-white photo of a parrot, close-up, 85mm, shallow focus at golden hour in the jungle"
    assert analyse(prompt, LEXICON).said == {
        "medium": ("photo",),
        "lighting": ("golden hour",),
        "composition": ("close up",),
        "camera": ("85mm", "shallow focus"),
        "background": ("jungle",),
        "color": ("black and white", "golden"),
        "mood": ("moody",),
    }


@given(st.text(max_size=200))
def test_what_is_said_stands_in_the_prompt_and_is_not_missing(text: str) -> None:
    found = analyse(text, LEXICON)
    assert all(Wording.of(text).has(Wording.of(phrase)) for said in found.said.values() for phrase in said)
    assert not set(found.said) & set(found.missing)


def test_words_are_counted_as_written() -> None:
    assert analyse("  a close-up of a cat, 4k ", LEXICON).words == 6


@given(st.text(max_size=500))
def test_the_subject_is_made_of_the_prompts_own_words(text: str) -> None:
    found = analyse(text, LEXICON)
    assert set(found.subject.split()) <= set(text.replace(".", " ").split()) | set(
        found.subject.split(" ")
    ) & {word for word in found.subject.split(" ") if word in text}
    assert found.words == len(text.split())
