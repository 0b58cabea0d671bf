"""Patterns searched at once are found where Python finds them one by one; what cannot be searched is no text without finds."""

import re

import pytest

from bench.safety.labelled import load
from services.safety.patterns import Patterns, expanded, expanded_natively
from tests.unit.safety.shipped import RULES


def test_rules_are_found_where_python_finds_them() -> None:
    rules = [rule for rule in RULES.rules if not rule.native]
    one_by_one = {
        group: re.compile(rf"(?<![a-z0-9])(?:{group})(?![a-z0-9])") for rule in rules for group in rule.groups
    }
    together = Patterns(list(one_by_one))
    for text in [RULES.disguises.plain(prompt.text) for prompt in load()[::5]]:
        expected = {place for place, each in enumerate(one_by_one.values()) if each.search(text)}
        assert together.found(text) == expected, text


def test_patterns_are_of_whole_words() -> None:
    patterns = Patterns(["nude", "a b"])
    assert patterns.found("nude") == patterns.found("(nude)") == patterns.found("_nude_") == {0}
    assert patterns.found("denuded") == patterns.found("nude7") == patterns.found("") == set()


def test_expanded_fills_in_lists_gaps_and_a_few_words() -> None:
    (pattern,) = [expanded("<a> <b> ... z", {"a": "x|y", "b": "<a>"})]
    found = Patterns([pattern]).found
    assert found("x-y z") == found("y  x one two three four five z") == {0}
    assert found("y x one two three four five six z") == found("xy z") == set()


def test_words_and_gaps_in_other_letters_are_bounded() -> None:
    pattern = re.compile(expanded_natively(r"сним\w+ <a>", {"a": "(?:с )?платье"}))
    assert pattern.search("снимает с-_платье")
    assert pattern.search("сним" + "я" * 40 + "платье")
    assert not pattern.search("сним" + "я" * 60 + "платье")


def test_no_rule_in_other_letters_goes_back_without_end() -> None:
    for rule in RULES.rules:
        if rule.native:
            exceptions = [rule.exceptions.pattern] if rule.exceptions else []
            for each in (*rule.groups, *exceptions):
                assert not re.search(r"(?<!\\)[*+](?!\+)", re.sub(r"\*\+", "", each)), rule.name


@pytest.mark.parametrize("word", ["сним", "показыва", "الموت ل", "اقتلوا كل"])
def test_a_word_and_many_gaps_are_read_in_time_that_grows_with_their_length(word: str) -> None:
    RULES.check(word * (4000 // len(word)) + "_" * 4000)  # 2,800 letters took 17 s, holding the interpreter


@pytest.mark.parametrize("pattern", ["(", "a(?!b)", r"(a)\1"])
def test_what_re2_does_not_read_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="RE2 does not read"):
        Patterns([pattern])


def test_a_search_that_was_given_up_is_an_error() -> None:
    patterns = Patterns(["word"])
    patterns._passes = [type("GivenUp", (), {"Match": lambda *_: []})()]
    with pytest.raises(RuntimeError):
        patterns.found("word")
