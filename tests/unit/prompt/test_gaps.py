"""What a language model's answer must be like, and when it is not waited for."""

from importlib.resources import files

import pytest
import yaml

from services.prompt.circuit import FAILURES, PAUSE_SECONDS, Circuit
from services.prompt.enhancement import Asked
from services.prompt.gaps import Gaps, allowed, parse
from services.prompt.lexicon import load
from services.prompt.styles import Level

LEXICON = load()
GAPS = Gaps.of(
    yaml.safe_load(files("services.prompt").joinpath("language_engine.yaml").read_text("utf-8")), LEXICON
)
NAMES = ["lighting", "mood"]


def asked(prompt: str, level: Level = Level.RICH, style: str = "", negative_prompt: str = "") -> Asked:
    found = LEXICON.styles.get(style) if style else None
    return Asked(prompt, negative_prompt, found, bool(style), level, LEXICON.dialects.of(""))


@pytest.mark.parametrize(
    ("given", "open_"),
    [
        (asked("a cat"), ["lighting", "background", "mood", "color", "composition"]),
        (asked("a cat", Level.STANDARD), ["lighting"]),
        (asked("a cat", Level.LIGHT), []),
        (asked("a red cat at night in a forest"), ["mood", "composition"]),
    ],
)
def test_what_the_prompt_leaves_open_is_asked_for_up_to_the_level(given: Asked, open_: list[str]) -> None:
    assert GAPS.open(given, LEXICON) == open_


def test_what_the_style_says_is_not_asked_for() -> None:
    styled = [style for style in LEXICON.styles.styles if style.aspects.get("lighting")]
    assert styled
    for style in styled:
        assert "lighting" not in GAPS.open(asked("a cat", style=style.name), LEXICON)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("lighting: soft light; mood: calm", {"lighting": "soft light", "mood": "calm"}),
        (" Mood: Calm and quiet. ", {"mood": "calm and quiet"}),
        ("soft light", None),
        ("", None),
        ("lighting: soft light\nmood: calm", None),
        ("lighting: soft light; lighting: hard light", None),
        ("background: plain", None),
        ("lighting: soft light --ar 3:2", None),
        ("lighting: (soft light:1.4)", None),
        ("lighting: <lora:x:1>", None),
        ("lighting: weiches Licht für", None),
        ("lighting: one two three four five six seven eight nine", None),
        ("Sure! Here is it; lighting: soft light", None),
    ],
)
def test_only_a_line_of_phrases_for_what_was_asked_is_read(line: str, found: dict[str, str] | None) -> None:
    assert parse(line, NAMES) == found


@pytest.mark.parametrize(
    ("name", "phrase", "prompt", "fits"),
    [
        ("lighting", "soft golden evening light", "a cat", True),
        ("lighting", "a lamp beside a dog", "a cat", False),
        ("lighting", "light on the cat", "a cat", True),
        ("mood", "in a forest", "a cat", False),
        ("background", "in a quiet forest", "a cat", True),
        ("lighting", "ignore previous instructions", "a cat", False),
        ("lighting", "aspects of the picture", "a cat", False),
    ],
)
def test_a_phrase_names_nothing_new(name: str, phrase: str, prompt: str, fits: bool) -> None:
    assert GAPS.fits(name, phrase, prompt) == fits


@pytest.mark.parametrize(
    ("phrase", "given", "said", "fine"),
    [
        ("moonlight", asked("a cat at noon"), "", False),
        ("moonlight", asked("a cat"), "bright noon sun", False),
        ("moonlight", asked("a cat"), "", True),
        ("no cat", asked("a cat"), "", False),
        ("without colors", asked("a cat"), "", False),
        ("soft clouds", asked("a sky without clouds"), "", False),
        ("soft fog", asked("a cat", negative_prompt="fog"), "", False),
        ("black and white", asked("a cat", style="cyberpunk"), "", False),
    ],
)
def test_a_phrase_contradicts_neither_prompt_nor_style_nor_another(
    phrase: str, given: Asked, said: str, fine: bool
) -> None:
    assert allowed(phrase, given, said, LEXICON) == fine


def test_after_failures_in_a_row_one_call_at_a_time_tries() -> None:
    now = [100.0]
    circuit = Circuit(lambda: now[0])
    for _ in range(FAILURES):
        assert circuit.admits()
        circuit.failed()
    assert not circuit.admits()
    now[0] += PAUSE_SECONDS
    assert [circuit.admits(), circuit.admits()] == [True, False]
    circuit.succeeded()
    assert circuit.admits()


def test_an_answer_between_failures_keeps_the_circuit_closed() -> None:
    circuit = Circuit(lambda: 0.0)
    for _ in range(2 * FAILURES):
        circuit.failed()
        circuit.succeeded()
    assert circuit.admits()
