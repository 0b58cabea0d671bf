from collections import Counter

import pytest

from services.prompt.alternatives import Alternatives
from services.prompt.lexicon import load
from services.prompt.styles import Level, Style
from services.prompt.wording import Wording

LEXICON = load()
ALTERNATIVES = LEXICON.alternatives
STYLES = LEXICON.styles


def options_of(phrase: str) -> tuple[str, ...]:
    return (phrase, *ALTERNATIVES.others.get(phrase, ()))


def test_every_phrase_from_standard_on_has_some_and_nothing_else_has() -> None:
    said = {
        text
        for style in STYLES.styles
        for level in (Level.STANDARD, Level.RICH)
        for text in style.words[level]
    }
    said |= {text for style in STYLES.styles for text in style.aspects.values()}
    said |= {aspect.add for aspect in LEXICON.aspects if aspect.add}
    assert set(ALTERNATIVES.others) == said
    assert all(ALTERNATIVES.others.values())
    assert not said & {text for style in STYLES.styles for text in style.words[Level.LIGHT]}


@pytest.mark.parametrize("phrase", ALTERNATIVES.others)
def test_what_speaks_against_a_phrase_speaks_against_all_that_may_stand_for_it(phrase: str) -> None:
    against = set(LEXICON.opposites.against(Wording.of(phrase)))
    for other in ALTERNATIVES.others[phrase]:
        assert against <= set(LEXICON.opposites.against(Wording.of(other))), other


@pytest.mark.parametrize("style", STYLES.styles, ids=STYLES.names)
def test_no_choice_contradicts_or_excludes_the_style(style: Style) -> None:
    phrases = [*(text for texts in style.words.values() for text in texts), *style.aspects.values()]
    for phrase in phrases:
        others = [option for text in phrases if text != phrase for option in options_of(text)]
        for option in options_of(phrase):
            against = LEXICON.opposites.against(Wording.of(option))
            assert not [other for other in others if Wording.of(other).has_any(against)], option
            assert not [text for text in style.negative if Wording.of(option).has(Wording.of(text))], option


def test_a_seed_chooses_always_the_same_and_seeds_choose_evenly() -> None:
    phrase = "visible paper texture"
    assert ALTERNATIVES.of(phrase, None) == (phrase,)
    assert ALTERNATIVES.of(phrase, 7) == ALTERNATIVES.of(phrase, 7)
    assert set(ALTERNATIVES.of(phrase, 7)) == set(options_of(phrase))
    first = Counter(ALTERNATIVES.of(phrase, seed)[0] for seed in range(300))
    assert set(first) == set(options_of(phrase))
    assert min(first.values()) > 60


def test_phrases_do_not_change_together() -> None:
    pairs = {
        (ALTERNATIVES.of("rich pigments", seed)[0], ALTERNATIVES.of("impasto texture", seed)[0])
        for seed in range(100)
    }
    assert len(pairs) == 9


def test_what_has_none_is_said_as_it_is() -> None:
    assert ALTERNATIVES.of("soft washes", 7) == ("soft washes",)


def test_a_phrase_among_its_own_alternatives_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="alternatives of a: one is there twice"):
        Alternatives.parse({"a": ["b", "a"]})
