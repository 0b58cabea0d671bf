"""Templates and suggestions, by the client and by the command line."""

import json
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from typer.testing import CliRunner

from scrollintel.visual import Filled, Hole, NotFoundError, PromptError, Suggestion, VisualClient
from scrollintel.visual.cli import template_files
from scrollintel.visual.cli.app import application
from scrollintel.visual.v1 import assets_pb2, prompt_pb2
from tests.unit.client.scripted import Script, playing, status, whole_life
from tests.unit.client.test_cli import DIGEST, vmesh

CAKE = prompt_pb2.PromptTemplate(
    id="food-cake",
    category="food",
    title="Cake",
    text="a {layers} layer {flavor} cake with {topping}",
    style="photographic",
    example="a 3 layer lemon cake with nuts",
    holes=[
        prompt_pb2.TemplateVariable(
            name="layers",
            about="how many layers",
            default_value="3",
            number=prompt_pb2.NumberRule(lowest=1, highest=6),
        ),
        prompt_pb2.TemplateVariable(
            name="flavor",
            about="what it tastes of",
            default_value="lemon",
            choice=prompt_pb2.ChoiceRule(options=["lemon", "carrot"]),
        ),
        prompt_pb2.TemplateVariable(
            name="topping", about="what is on top", text=prompt_pb2.TextRule(max_length=80, example="nuts")
        ),
    ],
)
TEA = prompt_pb2.PromptTemplate(id="food-tea", category="food", title="Tea", text="tea", example="tea")
REFUSAL = status(
    grpc.StatusCode.INVALID_ARGUMENT,
    "variables.layers: takes a whole number from 1 to 6",
    "FIELD_INVALID",
    error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(
                field="variables.layers", description="takes a whole number from 1 to 6"
            )
        ]
    ),
)


async def test_all_pages_of_the_templates_are_read():
    script = Script(templates=[CAKE, TEA])
    async with playing(script) as address, VisualClient(address) as client:
        cake, tea = await client.templates("something sweet", category="food")
    assert [request.page_token for request in script.requests] == ["", "1"]
    assert {(request.query, request.category) for request in script.requests} == {("something sweet", "food")}
    assert (cake.id, cake.title, cake.style, tea.holes) == ("food-cake", "Cake", "photographic", ())
    layers, flavor, topping = cake.holes
    assert (layers.lowest, layers.highest, layers.default, layers.rule) == (1, 6, "3", "1 to 6")
    assert (flavor.options, flavor.lowest, flavor.rule) == (("lemon", "carrot"), None, "lemon, carrot")
    assert (topping.max_length, topping.default, topping.rule) == (80, "", "such as nuts")


async def test_a_template_is_filled_or_refused_by_the_variable():
    script = Script()
    async with playing(script) as address, VisualClient(address) as client:
        assert await client.fill_template("food-cake", {"topping": "nuts"}) == Filled(
            "a lemon cake", "photographic"
        )
        assert dict(script.requests[0].variables) == {"topping": "nuts"}
        script.refusal = REFUSAL
        with pytest.raises(PromptError) as caught:
            await client.fill_template("food-cake", {"layers": "9"})
    assert [violation.field for violation in caught.value.violations] == ["variables.layers"]


@pytest.mark.parametrize(
    ("value", "said"), [(2, "must be of type str, not int"), ("\udcff", "must be valid Unicode text")]
)
async def test_a_value_that_is_no_text_is_refused_by_the_variable(value, said):
    async with VisualClient("127.0.0.1:1") as client:
        with pytest.raises(PromptError, match=said) as caught:
            await client.fill_template("food-cake", {"layers": value})
        assert [violation.field for violation in caught.value.violations] == ["variables.layers"]
        with pytest.raises(PromptError, match=said):
            await client.suggest("a bat", avoid=["gore", value])


async def test_suggestions():
    script = Script()
    async with playing(script) as address, VisualClient(address) as client:
        found = await client.suggest("a bat", count=5, avoid=["gore"])
    assert found == [Suggestion("a bat, moonlight", "lighting: moonlight", {"lighting": "moonlight"})]
    (request,) = script.requests
    assert (request.prompt, request.count, list(request.avoid)) == ("a bat", 5, ["gore"])


async def test_the_command_lists_templates_with_what_fills_them(tmp_path):
    script = Script(templates=[CAKE])
    async with playing(script) as address:
        code, out, _ = await vmesh("templates", "--search", "sweet", "--address", address, home=tmp_path)
        as_json = await vmesh("templates", "--json", "--address", address, home=tmp_path)
    assert code == 0
    assert out.splitlines() == [
        "food-cake food Cake",
        "  a {layers} layer {flavor} cake with {topping}",
        "  layers  how many layers: 1 to 6",
        "  flavor  what it tastes of: lemon, carrot",
        "  topping what is on top: such as nuts (needed)",
    ]
    assert json.loads(as_json[1])["templates"][0]["holes"][1]["options"] == ["lemon", "carrot"]
    assert script.requests[0].query == "sweet"


@dataclass
class Shelf(Script):
    """A mesh that keeps templates."""

    kept: dict[str, assets_pb2.StoredTemplate] = field(default_factory=dict)

    async def CreateTemplate(self, request: Any, context: Any) -> Any:  # type: ignore[override]
        self.requests.append(request)
        if self.refusal:
            await context.abort_with_status(rpc_status.to_status(self.refusal))
        names = ("id", "kind", "name", "text", "category", "style", "holes")
        stored = assets_pb2.StoredTemplate(**{name: getattr(request, name) for name in names})
        self.kept[request.id] = stored
        return assets_pb2.CreateTemplateResponse(template=stored)

    async def GetTemplate(self, request: Any, context: Any) -> Any:  # type: ignore[override]
        if request.id not in self.kept:
            await context.abort_with_status(rpc_status.to_status(GONE))
        return assets_pb2.GetTemplateResponse(template=self.kept[request.id])

    async def DeleteTemplate(self, request: Any, context: Any) -> Any:  # type: ignore[override]
        if self.kept.pop(request.id, None) is None:
            await context.abort_with_status(rpc_status.to_status(GONE))
        return assets_pb2.DeleteTemplateResponse()


GONE = status(grpc.StatusCode.NOT_FOUND, "there is no template", "NOT_FOUND")

FILE = """
id: own-cake
title: Our cake
text: "a {layers} layer {flavor} cake with {topping}"
category: cakes
variables:
  layers: {about: how many, number: [1, 6], default: 2}
  flavor: {about: the taste, choice: [lemon, 70]}
  topping: {about: what is on top, text: 40, example: nuts}
"""


async def test_a_template_is_kept_with_its_holes_and_removed():
    holes = [
        Hole("layers", "how many", "2", lowest=1, highest=6),
        Hole("flavor", "the taste", "", options=("lemon", "carrot")),
        Hole("topping", "on top", "", example="nuts"),
    ]
    async with playing(shelf := Shelf(templates=[CAKE])) as address, VisualClient(address) as client:
        text = "a {layers} layer {flavor} cake with {topping}"
        kept = await client.add_template(text, title="Cake", holes=holes, template_id="own-cake")
        assert (kept.id, kept.own, kept.example) == ("own-cake", True, "a 2 layer lemon cake with nuts")
        assert [hole.max_length for hole in kept.holes] == [None, None, 120]
        assert await client.template("own-cake") == kept
        assert (await client.template("food-cake")).title == "Cake"
        with pytest.raises(NotFoundError) as caught:
            await client.template("food-cakes")
        assert caught.value.suggestions == ("food-cake",)
        await client.remove_template("own-cake")
        with pytest.raises(NotFoundError):
            await client.remove_template("own-cake")
        with pytest.raises(PromptError, match=r"holes\[0\]"):
            await client.add_template("{a}", title="A", holes=[Hole("a", "b", "1", lowest=1, highest=2**40)])
    assert len({request.request_id for request in shelf.requests if hasattr(request, "request_id")}) == 1


async def test_the_command_adds_shows_and_removes_ones_own(tmp_path):
    file = tmp_path / "cake.yaml"
    file.write_text(FILE)
    async with playing(Shelf(templates=[CAKE])) as address:
        at = ("--address", address)
        code, _, err = await vmesh("templates", "add", str(file), *at, home=tmp_path)
        assert (code, err) == (0, "kept own-cake\n")
        code, out, _ = await vmesh("templates", "show", "own-cake", *at, home=tmp_path)
        assert code == 0
        assert out.splitlines() == [
            "own-cake cakes Our cake own",
            "  a {layers} layer {flavor} cake with {topping}",
            "  layers  how many: 1 to 6",
            "  flavor  the taste: lemon, 70",
            "  topping what is on top: such as nuts (needed)",
            "  such as: a 2 layer lemon cake with nuts",
        ]
        assert (await vmesh("templates", "remove", "own-cake", *at, home=tmp_path))[0] == 0
        assert (await vmesh("templates", "remove", "own-cake", *at, home=tmp_path))[0] == 7


async def test_a_template_that_the_mesh_refuses_ends_the_command(tmp_path):
    file = tmp_path / "cakes.yaml"
    file.write_text("templates:\n- {title: A, text: a}\n- {title: B, text: b}\n")
    async with playing(script := Shelf(refusal=REFUSAL)) as address:
        code, _, err = await vmesh("templates", "add", str(file), "--address", address, home=tmp_path)
    assert code == 3
    assert "whole number" in err
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "expected"),
        ("- a", "template 1 is no mapping"),
        ("title: x", "template 1 has no text"),
        ("{title: x, text: y, colour: z}", "has colour, and takes category"),
        ("{title: x, text: [5]}", "text is no text"),
        ("[" * 5000, "nested too deeply"),
        ("{title: x, text: y, variables: {a: {about: [b], text: 3}}}", "variables.a: about is no text"),
        (
            "{title: x, text: y, variables: {a: {about: b, choice: [c, [d]]}}}",
            "variables.a: choice is no text",
        ),
        ("templates: {title: x}", "a list of one template or more"),
        ("templates: []", "a list of one template or more"),
        ("{title: x, text: y, variables: [a]}", "variables is no mapping"),
        (
            "{title: x, text: y, variables: {a: {about: b}}}",
            "variables.a: say one of text, choice and number",
        ),
        ("{title: x, text: y, variables: {a: {about: b, number: 3}}}", "number takes its lowest and highest"),
        ("{title: x, text: y, variables: {a: {about: b, text: long}}}", "text takes the most characters"),
        ("{title: x, text: y, variables: {a: {about: b, choice: c}}}", "choice takes a list"),
    ],
)
def test_a_file_of_no_templates_is_told_where_and_why(tmp_path, text, said):
    file = tmp_path / "t.yaml"
    file.write_text(text)
    with pytest.raises(template_files.TemplateFileError) as caught:
        template_files.read(file)
    assert said in str(caught.value)


def test_what_a_file_says_counts_as_it_is_written(tmp_path):
    file = tmp_path / "t.yaml"
    file.write_text(
        "{title: 2024-13-45, text: no, style:, variables: {a: {about: on, choice: [16:9, 4:3, yes, 1.50]}}}"
    )
    (draft,) = template_files.read(file)
    assert (draft.title, draft.text, draft.style) == ("2024-13-45", "no", None)
    assert draft.holes[0].options == ("16:9", "4:3", "yes", "1.50")


async def test_the_command_says_that_ones_own_are_missing(tmp_path):
    async with playing(Script(templates=[CAKE], own_unavailable=True)) as address:
        code, out, err = await vmesh("templates", "--address", address, home=tmp_path)
    assert code == 0
    assert out.startswith("food-cake")
    assert "your own are not among them" in err


async def test_a_template_is_drawn_in_its_style(tmp_path):
    script = Script(whole_life(digest=DIGEST))
    async with playing(script) as address:
        arguments = ("--template", "food-cake", "--var", "topping=nuts = more", "--address", address)
        code, out, err = await vmesh("generate", *arguments, "-o", str(tmp_path), home=tmp_path)
    assert code == 0, err
    filled, drawn = script.requests[0], script.requests[1].spec.image
    assert (filled.id, dict(filled.variables)) == ("food-cake", {"topping": "nuts = more"})
    assert (drawn.prompt, drawn.style) == ("a lemon cake", "photographic")
    assert "a-lemon-cake" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "one of the two"),
        (["a cat", "--template", "food-cake"], "one of the two"),
        (["a cat", "--var", "a=b"], "none is named"),
        (["--template", "food-cake", "--var", "nuts"], "write NAME=VALUE"),
    ],
)
def test_a_prompt_or_a_template(arguments, said):
    result = CliRunner().invoke(application(), ["generate", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert said in result.output
