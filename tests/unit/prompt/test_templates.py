from collections import Counter
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.prompt.analysis import analyse
from services.prompt.lexicon import load
from services.prompt.pages import PageTokenError, page
from services.prompt.search import by_meaning, by_words
from services.prompt.templates import Library
from services.runtime.templates.template import FillError, Template
from services.runtime.templates.variables import Choice, Number, Text, Variable, VariableError, parse

LEXICON = load()
LIBRARY = LEXICON.library
STUDIO = {"subject": "an old fisherman"}


def template(template_id: str) -> Template:
    found = LIBRARY.get(template_id)
    assert found is not None
    return found


def test_the_library_is_large_enough() -> None:
    assert len(LIBRARY.templates) >= 50
    categories = Counter(template.category for template in LIBRARY.templates)
    assert len(categories) >= 12
    assert min(categories.values()) >= 3


@pytest.mark.parametrize("entry", LIBRARY.templates, ids=lambda entry: entry.id)
def test_each_template_is_whole(entry: Template) -> None:
    assert entry.id.startswith(("scifi-",) if entry.category == "science-fiction" else (entry.category,))
    assert entry.title
    assert entry.variables
    assert all(variable.about for variable in entry.variables)
    if entry.style:
        assert LEXICON.styles.get(entry.style).name == entry.style
    found = analyse(entry.example, LEXICON)
    assert "{" not in entry.example
    assert not found.ambiguities
    assert found.language == "en"


@pytest.mark.parametrize("entry", LIBRARY.templates, ids=lambda entry: entry.id)
def test_every_choice_fits_its_place(entry: Template) -> None:
    for variable in entry.variables:
        if isinstance(variable, Choice):
            assert len(set(variable.options)) == len(variable.options) >= 2
            for option in variable.options:
                samples = {one.name: one.sample for one in entry.variables} | {variable.name: option}
                assert option in entry.fill(samples)


def test_defaults_stand_in_for_what_is_left_out() -> None:
    assert template("portrait-studio").fill(STUDIO) == (
        "studio photograph of an old fisherman, calm expression, soft window light, plain grey background, 85mm lens"
    )


def test_what_fills_a_hole_is_not_read_for_holes() -> None:
    assert "{light}, calm" in template("portrait-studio").fill({"subject": "{light}"})


@pytest.mark.parametrize(
    ("template_id", "given", "variable", "rule", "near"),
    [
        (
            "portrait-studio",
            {},
            "subject",
            "is needed: who is shown, such as `an old fisherman with a grey beard`",
            (),
        ),
        ("portrait-studio", {"subject": "  "}, "subject", "is needed", ()),
        ("portrait-studio", {"subject": "x" * 161}, "subject", "takes at most 160 characters", ()),
        ("portrait-studio", {"subject": "a\nb"}, "subject", "takes one line", ()),
        ("portrait-studio", {"subject": "a\u2028b"}, "subject", "takes one line", ()),
        ("portrait-studio", {"subject": "a\x85b"}, "subject", "takes one line", ()),
        (
            "portrait-studio",
            STUDIO | {"colour": "red"},
            "colour",
            "is no variable of portrait-studio",
            ("color",),
        ),
        ("portrait-studio", STUDIO | {"color": "gray"}, "color", "takes one of grey, white", ("grey",)),
        ("food-cake", {"topping": "nuts", "layers": "7"}, "layers", "takes a whole number from 1 to 6", ()),
        ("food-cake", {"topping": "nuts", "layers": "2.5"}, "layers", "takes a whole number", ()),
        ("food-cake", {"topping": "nuts", "layers": "\u0662"}, "layers", "takes a whole number", ()),
        ("food-cake", {"topping": "nuts", "layers": ""}, "layers", "takes a whole number", ()),
    ],
)
def test_refusals_name_the_variable_and_the_rule(
    template_id: str, given: dict[str, str], variable: str, rule: str, near: tuple[str, ...]
) -> None:
    with pytest.raises(FillError, match=rule) as caught:
        template(template_id).fill(given)
    assert caught.value.variable == variable
    assert caught.value.near[: len(near)] == near


def test_choices_do_not_mind_case_and_numbers_are_plain() -> None:
    cake = template("food-cake").fill({"topping": "nuts", "layers": " 02 ", "flavor": "LEMON"})
    assert cake.startswith("photograph of a 2 layer lemon cake with nuts")


@pytest.mark.parametrize(
    "variable",
    [Text("a", "b", 20, "c", ""), Choice("a", "b", ("c", "d")), Number("a", "b", 1, 9, 1)],
    ids=type,
)
@given(value=st.text(max_size=40))
def test_any_value_is_taken_as_it_is_or_refused(variable: Variable, value: str) -> None:
    with suppress(VariableError):
        taken = variable.take(value)
        assert variable.take(taken) == taken
        assert "\n" not in taken


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ({"about": "x", "number": [1, 3], "default": 4}, "from 1 to 3"),
        ({"about": "x", "text": 3, "example": "long"}, "at most 3"),
        ({"about": "x", "text": 3}, "is needed"),
    ],
)
def test_a_variable_that_refuses_its_own_sample_is_a_mistake(data: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse("a", data)


def test_mistakes_in_the_file_are_named() -> None:
    entry = {"id": "x", "category": "x", "title": "x", "style": "", "text": "a {b}", "variables": {}}
    with pytest.raises(ValueError, match="template x: holes: are to be those of the text"):
        Template.parse(entry)
    with pytest.raises(ValueError, match="template y: 'category' is missing"):
        Template.parse({"id": "y"})
    with pytest.raises(ValueError, match="given twice"):
        Library((template("food-cake"), template("food-cake")))


def test_names_that_are_near() -> None:
    assert LIBRARY.near("portrait-studo")[0] == "portrait-studio"
    assert LIBRARY.get("portrait-studo") is None


def test_search_by_words() -> None:
    assert by_words("an isometric ROOM", LIBRARY.templates)[0].id == "interior-isometric"
    assert by_words("xyzzy", LIBRARY.templates) == []


def test_search_by_meaning_is_nearest_first_and_leaves_out_what_is_unlike() -> None:
    cosines = np.array([0.1, 0.5, 0.3, 0.5], dtype=np.float32)
    one, two, three, four = LIBRARY.templates[:4]
    assert by_meaning(cosines, [one, two, three, four]) == [two, four, three]


@given(st.integers(1, 30), st.integers(0, 100))
def test_pages_hold_every_entry_once(size: int, count: int) -> None:
    entries, token, pages = list(range(count)), "", 0
    found: list[int] = []
    while pages == 0 or token:
        part, token = page(entries, size, token, ("q",))
        found += part
        pages += 1
        assert len(part) <= size
    assert found == entries
    assert pages == max(1, -(-count // size))


@pytest.mark.parametrize("token", ["x", "3", "3-0123456789abcdef", "-1-0123456789abcdef"])
def test_a_token_of_another_question_is_refused(token: str) -> None:
    _, other = page(range(9), 3, "", ("q",))
    for strange in (token, other):
        with pytest.raises(PageTokenError):
            page(range(9), 3, strange, ("another",))
