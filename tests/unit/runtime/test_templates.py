"""The grammar of templates, as it comes over the wire."""

import pytest

from scrollintel.visual.v1 import assets_pb2, prompt_pb2
from services.prompt.lexicon import load
from services.runtime.templates import wire
from services.runtime.templates.template import FillError, Template, TemplateError

TEMPLATES = load().library.templates


def text(name: str, **fields: object) -> prompt_pb2.TemplateVariable:
    rule = prompt_pb2.TextRule(max_length=20, example="a cat")
    return prompt_pb2.TemplateVariable(**{"name": name, "about": "what", "text": rule} | fields)  # type: ignore[arg-type]


def number(name: str, default: str, lowest: int = 1, highest: int = 9) -> prompt_pb2.TemplateVariable:
    rule = prompt_pb2.NumberRule(lowest=lowest, highest=highest)
    return prompt_pb2.TemplateVariable(name=name, about="how many", default_value=default, number=rule)


def choice(name: str, *options: str, default: str = "") -> prompt_pb2.TemplateVariable:
    rule = prompt_pb2.ChoiceRule(options=options)
    return prompt_pb2.TemplateVariable(name=name, about="which", default_value=default, choice=rule)


def stored(words: str, *holes: prompt_pb2.TemplateVariable, **fields: object) -> assets_pb2.StoredTemplate:
    return assets_pb2.StoredTemplate(
        **{"id": "own-x", "name": "X", "category": "own", "text": words, "holes": holes} | fields  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.id)
def test_what_is_written_is_read_again(template: Template) -> None:
    message = wire.write(template)
    again = assets_pb2.StoredTemplate(
        id=message.id,
        name=message.title,
        category=message.category,
        style=message.style,
        text=message.text,
        holes=message.holes,
    )
    assert wire.read(again) == template
    assert not message.own


def test_the_id_tells_whose_it_is() -> None:
    assert wire.write(wire.read(stored("a cat"))).own
    assert not any(template.id.startswith(wire.OWN) for template in TEMPLATES)


def test_every_kind_of_hole_is_filled() -> None:
    template = wire.read(
        stored("{count} {what} in {where}", number("count", "3"), text("what"), choice("where", "a", "b"))
    )
    assert template.fill({"what": "cats", "where": "B"}) == "3 cats in b"
    assert template.example == "3 a cat in a"


@pytest.mark.parametrize(
    ("message", "part", "rule"),
    [
        (stored("a {b}"), "holes", "those of the text, each once, in its order: b"),
        (stored("a", text("b")), "holes", "in its order: none"),
        (stored("{a} {b}", text("b"), text("a")), "holes", "in its order: a, b"),
        (stored("{a} {a}", text("a"), text("a")), "holes", "each once"),
        (stored("a {Color}"), "text", "has braces that are no hole"),
        (stored("a } b"), "text", "has braces"),
        (stored("a\nb"), "text", "is one line"),
        (stored("  "), "text", "not empty"),
        (stored("a", name="a\x1bb"), "name", "is one line"),
        (
            stored(" ".join(f"{{h{n}}}" for n in range(33)), *(choice(f"h{n}", "a", "b") for n in range(33))),
            "holes",
            "are at most 32",
        ),
        (stored("{a}", prompt_pb2.TemplateVariable(name="a", about="x")), "holes[0]", "say what it takes"),
        (stored("{a}", text("a", about=" ")), "holes[0]", "`about` says nothing"),
        (stored("{a}", text("a", about="x" * 1001)), "holes[0]", "`about` is one line of at most 1000"),
        (stored("{a}", text("a", default_value="x" * 21)), "holes[0]", "its own sample is refused"),
        (stored("{a}", text("a", text=prompt_pb2.TextRule(max_length=5))), "holes[0]", "is needed"),
        (stored("{a}", text("a", text=prompt_pb2.TextRule(max_length=0))), "holes[0]", "takes 1 to 1000"),
        (stored("{a}", choice("a", "x")), "holes[0]", "a choice has 2 to 64 options"),
        (stored("{a}", choice("a", "x", "X ")), "holes[0]", "none twice"),
        (stored("{a}", choice("a", "x", " ")), "holes[0]", "none empty"),
        (stored("{a}", choice("a", "x", "y\nz")), "holes[0]", "an option is one line"),
        (stored("{a}", choice("a", "x", "y", default="y")), "holes[0]", "is its first option"),
        (stored("{a} {b}", text("a"), number("b", "")), "holes[1]", "a number needs a whole one"),
        (stored("{a}", number("a", "12")), "holes[0]", "its own sample is refused"),
        (stored("{a}", number("a", "3", 9, 1)), "holes[0]", "its lowest is above its highest"),
        (stored("{a}", number("a", "3", 1, 2**31 - 1)), "holes[0]", "beyond 999,999,999"),
    ],
)
def test_what_is_no_template_is_refused_by_the_part_that_is_wrong(
    message: assets_pb2.StoredTemplate, part: str, rule: str
) -> None:
    with pytest.raises(TemplateError) as caught:
        wire.read(message)
    assert caught.value.part == part
    assert rule in str(caught.value)


def test_a_refusal_tells_no_more_choices_than_an_error_has_room_for() -> None:
    options = [f"{number:02}{'ab' * 100}" for number in range(64)]
    template = wire.read(stored("{which}", choice("which", *options)))
    with pytest.raises(FillError, match="and 63 more") as caught:
        template.fill({"which": "ba" * 101})
    assert caught.value.near == (options[0],)
    assert len(str(caught.value)) < 500


def test_a_choice_is_suggested_for_what_is_nearly_one() -> None:
    template = wire.read(stored("{which}", choice("which", "lemon", "vanilla", "x" * 900)))
    with pytest.raises(FillError) as caught:
        template.fill({"which": "vanila"})
    assert caught.value.near == ("vanilla",)


def test_no_hole_has_a_name_that_no_request_could_give() -> None:
    name = "x" * 65
    with pytest.raises(TemplateError, match="longer than 64"):
        wire.read(stored(f"{{{name}}}", text(name)))
