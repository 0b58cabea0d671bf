"""Templates and suggestions, by the client and by the command line."""

import json

import grpc
import pytest
from google.rpc import error_details_pb2
from typer.testing import CliRunner

from scrollintel.visual import Filled, PromptError, Suggestion, VisualClient
from scrollintel.visual.cli.app import application
from scrollintel.visual.v1 import prompt_pb2
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
