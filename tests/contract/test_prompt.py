"""PromptService over gRPC: by keywords where Triton is away, by meaning where it is there."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from scrollintel.visual.v1 import (
    assets_pb2,
    assets_pb2_grpc,
    errors_pb2,
    prompt_pb2,
    prompt_pb2_grpc,
    spec_pb2,
)
from services.assets.service import spec as assets_spec
from services.assets.settings import Settings as AssetSettings
from services.local.triton import Triton
from services.prompt import exemplars, meanings
from services.prompt.lexicon import load
from services.prompt.service import spec
from services.prompt.settings import Settings
from services.runtime import deadline, identity
from services.runtime.channels import connect
from services.runtime.errors import MeshError
from services.runtime.server import serve
from services.runtime.triton import TritonClient

NONE, LIGHT, STANDARD, RICH = (
    spec_pb2.ENHANCEMENT_LEVEL_NONE,
    spec_pb2.ENHANCEMENT_LEVEL_LIGHT,
    spec_pb2.ENHANCEMENT_LEVEL_STANDARD,
    spec_pb2.ENHANCEMENT_LEVEL_RICH,
)

# What styles look like, in words that do not name them. None of these is an exemplar.
DESCRIBED = {
    "lifelike image of a fox taken with a telephoto lens": "photographic",
    "epic movie frame with moody color grading and dramatic light": "cinematic",
    "a fox in loose washes of transparent paint on wet paper": "watercolor",
    "portrait in thick brush strokes on canvas like rembrandt": "oil-painting",
    "rough graphite lines with cross hatching from my notebook": "pencil-sketch",
    "bold black lines on white paper drawn with a pen": "ink-drawing",
    "retro nintendo game character with visible square pixels": "pixel-art",
    "japanese animation girl with large eyes": "anime",
    "superhero panel with dots and speech bubbles": "comic-book",
    "funny character with simple shapes for kids tv show": "cartoon",
    "simple geometric shapes with solid colors and no shading": "flat-vector",
    "computer generated glossy plastic toy with global illumination": "3d-render",
    "a fox made of flat triangles with few polygons": "low-poly",
    "tiny room seen from above without perspective": "isometric",
    "a crane folded from a sheet of colored paper": "paper-craft",
    "a wizard casting a spell in ancient ruins, magic": "fantasy-art",
    "hacker in a rainy street with neon signs and holograms": "cyberpunk",
    "small round symbol of a bell for a mobile app": "icon",
}
IN_NO_STYLE = [
    "a smiling cat",
    "two dogs playing chess in a park",
    "a bowl of fruit on a wooden table",
    "an old man reading a newspaper on a bench",
    "a knight riding a brown horse",
    "happy family building a sandcastle at the beach",
    "birthday cake with seven burning candles",
    "football player scoring a goal in the rain",
    "a penguin wearing a hat and a scarf",
    "a green apple next to a cup of coffee",
]


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@asynccontextmanager
async def prompt_server(
    home: Path, triton_address: str, assets_address: str = ""
) -> AsyncIterator["prompt_pb2_grpc.PromptServiceAsyncStub"]:
    settings = Settings.model_validate(
        {
            "home": home,
            "triton_address": triton_address,
            "embedding_seconds": 10,
            "assets_address": assets_address or closed_port(),
            "templates_seconds": 20,
        }
    )
    async with serve(spec(settings)) as server, connect(server.address) as channel:
        yield prompt_pb2_grpc.PromptServiceStub(channel)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def alone(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator["prompt_pb2_grpc.PromptServiceAsyncStub"]:
    """A prompt server whose Triton does not answer."""
    async with prompt_server(tmp_path_factory.mktemp("alone"), closed_port()) as stub:
        yield stub


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def asset_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address of an asset server."""
    async with serve(assets_spec(AssetSettings(home=tmp_path_factory.mktemp("assets")))) as server:
        yield server.address


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def whole(
    triton: Triton, asset_server: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator["prompt_pb2_grpc.PromptServiceAsyncStub"]:
    """A prompt server with the real Triton, and an asset server behind it."""
    async with prompt_server(tmp_path_factory.mktemp("whole"), triton.grpc_address, asset_server) as stub:
        yield stub


@dataclass(frozen=True)
class Shelf:
    """A prompt server without a model, and the asset server that it asks for templates."""

    prompts: "prompt_pb2_grpc.PromptServiceAsyncStub"
    assets: "assets_pb2_grpc.AssetServiceAsyncStub"

    @staticmethod
    def template(
        template_id: str, name: str, text: str, category: str = ""
    ) -> assets_pb2.CreateTemplateRequest:
        rule = {"max_length": 40, "example": "nuts"}
        holes = [{"name": "topping", "about": "what is on top", "text": rule}] if "{" in text else []
        return assets_pb2.CreateTemplateRequest(
            kind=assets_pb2.TEMPLATE_KIND_PROMPT,
            id=template_id,
            name=name,
            text=text,
            category=category,
            style="photographic",
            holes=holes,  # type: ignore[arg-type]
        )


@pytest_asyncio.fixture(loop_scope="session")
async def shelf(asset_server: str, tmp_path: Path) -> AsyncIterator[Shelf]:
    async with prompt_server(tmp_path, closed_port(), asset_server) as prompts, connect(asset_server) as door:
        yield Shelf(prompts, assets_pb2_grpc.AssetServiceStub(door))


async def enhanced(
    stub: "prompt_pb2_grpc.PromptServiceAsyncStub", prompt: str, **fields: object
) -> prompt_pb2.EnhancePromptResponse:
    request = prompt_pb2.EnhancePromptRequest(prompt=prompt, **fields)  # type: ignore[arg-type]
    return await stub.EnhancePrompt(request, timeout=20)


async def error_of(call: object) -> MeshError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    return MeshError.from_rpc(caught.value, "prompt")


async def test_keywords_decide_where_triton_is_away(alone: "prompt_pb2_grpc.PromptServiceAsyncStub") -> None:
    answer = await enhanced(alone, "a watercolor fox at night", negative_prompt="dogs")
    assert answer.style == "watercolor"
    assert answer.prompt.startswith("a watercolor fox at night, soft washes")
    assert answer.negative_prompt.startswith("dogs, photograph")
    assert answer.analysis.subject == "a fox at night"
    assert [match.style for match in answer.analysis.styles] == ["watercolor"]
    assert "composition" in answer.analysis.missing_aspects
    assert answer.analysis.words == 5


async def test_an_analysis_tells_what_is_said_left_to_chance_and_in_which_language(
    alone: "prompt_pb2_grpc.PromptServiceAsyncStub",
) -> None:
    request = prompt_pb2.AnalyzePromptRequest(prompt="a moody ink drawing of a bat, soft light")
    analysis = (await alone.AnalyzePrompt(request, timeout=20)).analysis
    assert {one.name: list(one.phrases) for one in analysis.aspects} == {
        "medium": ["ink", "drawing"],
        "lighting": ["light"],
        "mood": ["moody"],
    }
    assert list(analysis.ambiguities) == [
        prompt_pb2.Ambiguity(
            kind=prompt_pb2.AMBIGUITY_KIND_MEANINGS,
            phrase="bat",
            readings=["the flying animal", "the baseball bat"],
        )
    ]
    assert analysis.language == "en"


async def test_no_style_is_found_where_neither_can_tell(
    alone: "prompt_pb2_grpc.PromptServiceAsyncStub",
) -> None:
    answer = await enhanced(alone, "a fox in loose washes of transparent paint on wet paper")
    assert answer.style == ""
    assert not answer.analysis.styles


async def test_the_default_level_is_standard(alone: "prompt_pb2_grpc.PromptServiceAsyncStub") -> None:
    given = [
        await enhanced(alone, "a cat", style="anime", level=level) for level in (NONE, LIGHT, STANDARD, RICH)
    ]
    default = await enhanced(alone, "a cat", style="anime")
    assert default == given[2]
    assert given[0].prompt == "a cat"
    assert given[0].negative_prompt == ""
    assert [len(answer.prompt) for answer in given] == sorted({len(answer.prompt) for answer in given})


async def test_a_seed_chooses_the_words_and_always_the_same(
    alone: "prompt_pb2_grpc.PromptServiceAsyncStub",
) -> None:
    found = [await enhanced(alone, "a cat", style="watercolor", seed=seed % 8) for seed in range(16)]
    assert found[:8] == found[8:]
    assert len({answer.prompt for answer in found}) >= 3
    assert all(answer.prompt.startswith("a cat, watercolor painting, soft washes, ") for answer in found)
    assert len({answer.negative_prompt for answer in found}) == 1


async def test_the_wording_is_for_the_model_that_the_caller_named(
    alone: "prompt_pb2_grpc.PromptServiceAsyncStub",
) -> None:
    tags = await enhanced(alone, "a cat", style="watercolor")
    prose = await enhanced(alone, "a cat", style="watercolor", model="gpt-image-2")
    assert (tags.dialect, prose.dialect) == ("tags", "prose")
    assert tags.prompt.startswith("a cat, watercolor painting, soft washes")
    assert prose.prompt.startswith("a cat. Style: watercolor painting, with soft washes")
    assert tags.negative_prompt == prose.negative_prompt
    assert {model: one.prompt for one in tags.wordings for model in one.models}["gpt-image-*"] == prose.prompt
    assert list(prose.wordings)[-1] == prompt_pb2.PromptWording(models=["*"], prompt=tags.prompt)


async def test_an_unknown_style_is_answered_with_near_names(
    alone: "prompt_pb2_grpc.PromptServiceAsyncStub",
) -> None:
    request = prompt_pb2.EnhancePromptRequest(prompt="a cat", style="watercolour", level=NONE)
    error = await error_of(alone.EnhancePrompt(request, timeout=20))
    assert error.reason == errors_pb2.ERROR_REASON_STYLE_UNKNOWN
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert error.field == "style"
    assert error.suggestions[0] == "watercolor"
    request.style = "qqqqqq"
    assert len((await error_of(alone.EnhancePrompt(request, timeout=20))).suggestions) >= 16


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", ""),
        ("prompt", "x" * 4001),
        ("negative_prompt", "x" * 4001),
        ("style", "Water Color"),
        ("level", 0),
        ("level", 99),
        ("model", "Not A Model"),
        ("seed", -1),
    ],
)
async def test_requests_out_of_bounds_are_refused(
    alone: "prompt_pb2_grpc.PromptServiceAsyncStub", field: str, value: object
) -> None:
    request = prompt_pb2.EnhancePromptRequest(**{"prompt": "a cat", field: value})  # type: ignore[arg-type]
    error = await error_of(alone.EnhancePrompt(request, timeout=20))
    assert error.reason == errors_pb2.ERROR_REASON_FIELD_INVALID
    assert error.field == field


async def test_templates_come_in_pages_with_their_categories(
    alone: "prompt_pb2_grpc.PromptServiceAsyncStub",
) -> None:
    request, found = prompt_pb2.ListTemplatesRequest(page_size=25), []
    while True:
        answer = await alone.ListTemplates(request, timeout=20)
        found += answer.templates
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert len({template.id for template in found}) == len(found) >= 50
    assert sum(category.templates for category in answer.categories) == len(found)
    studio = next(template for template in found if template.id == "portrait-studio")
    assert list(studio.variables) == [hole.name for hole in studio.holes]
    assert {hole.WhichOneof("rule") for template in found for hole in template.holes} == {
        "text",
        "choice",
        "number",
    }
    request.category = "food"
    error = await error_of(alone.ListTemplates(request, timeout=20))
    assert (error.name, error.field) == ("FIELD_INVALID", "page_token")


async def test_templates_of_a_category_and_by_words_where_triton_is_away(
    alone: "prompt_pb2_grpc.PromptServiceAsyncStub",
) -> None:
    food = await alone.ListTemplates(prompt_pb2.ListTemplatesRequest(category="food"), timeout=20)
    assert {template.category for template in food.templates} == {"food"}
    request = prompt_pb2.ListTemplatesRequest(query="isometric room", page_size=1)
    assert (await alone.ListTemplates(request, timeout=20)).templates[0].id == "interior-isometric"


@pytest.mark.parametrize(
    ("query", "template"),
    [
        ("picture of my dog", "animal-pet"),
        ("retro video game character", "game-sprite"),
        ("spaceships", "scifi-ship"),
        ("house for sale", "architecture-exterior"),
        ("manga", "illustration-anime"),
    ],
)
async def test_templates_are_found_by_meaning(
    whole: "prompt_pb2_grpc.PromptServiceAsyncStub", query: str, template: str
) -> None:
    found = await whole.ListTemplates(prompt_pb2.ListTemplatesRequest(query=query, page_size=3), timeout=20)
    assert found.templates[0].id == template
    nothing = prompt_pb2.ListTemplatesRequest(query="python code for sorting")
    assert not (await whole.ListTemplates(nothing, timeout=20)).templates


async def test_a_template_is_filled(alone: "prompt_pb2_grpc.PromptServiceAsyncStub") -> None:
    request = prompt_pb2.ApplyTemplateRequest(id="food-cake", variables={"topping": "nuts", "layers": "2"})
    answer = await alone.ApplyTemplate(request, timeout=20)
    assert answer.prompt == (
        "photograph of a 2 layer chocolate cake with nuts, on a cake stand, birthday table, soft light"
    )
    assert answer.style == "photographic"


@pytest.mark.parametrize(
    ("template", "variables", "name", "field", "suggestion"),
    [
        ("food-cakes", {}, "NOT_FOUND", "id", None),
        ("food-cake", {}, "FIELD_INVALID", "variables.topping", None),
        ("food-cake", {"topping": "nuts", "layers": "9"}, "FIELD_INVALID", "variables.layers", None),
        (
            "food-cake",
            {"topping": "nuts", "flavour": "lemon"},
            "FIELD_INVALID",
            "variables.flavour",
            "flavor",
        ),
        ("food-cake", {str(n): "" for n in range(33)}, "FIELD_INVALID", "variables", None),
    ],
)
async def test_what_cannot_be_filled_is_refused_by_name(
    alone: "prompt_pb2_grpc.PromptServiceAsyncStub",
    template: str,
    variables: dict[str, str],
    name: str,
    field: str,
    suggestion: str | None,
) -> None:
    request = prompt_pb2.ApplyTemplateRequest(id=template, variables=variables)
    error = await error_of(alone.ApplyTemplate(request, timeout=20))
    assert (error.name, error.field) == (name, field)
    assert name != "NOT_FOUND" or "did you mean food-cake" in str(error)
    assert suggestion is None or error.suggestions[0] == suggestion


async def test_own_templates_come_after_the_shipped_and_only_to_their_tenant(shelf: Shelf) -> None:
    cake = shelf.template("own-cake", "Our cake", "photograph of a cake with {topping}", category="cakes")
    await shelf.assets.CreateTemplate(cake, timeout=20)
    await shelf.assets.CreateTemplate(
        shelf.template("own-food", "Soup", "a bowl of soup", "food"), timeout=20
    )
    answer = await shelf.prompts.ListTemplates(prompt_pb2.ListTemplatesRequest(page_size=200), timeout=20)
    assert not answer.own_unavailable
    assert [template.id for template in answer.templates if template.own] == ["own-food", "own-cake"]
    assert [template.own for template in answer.templates] == [False] * 61 + [True, True]
    assert answer.templates[-1].example == "photograph of a cake with nuts"
    counts = {category.name: category.templates for category in answer.categories}
    assert (counts["food"], counts["cakes"]) == (sum(one.category == "food" for one in answer.templates), 1)
    found = await shelf.prompts.ListTemplates(
        prompt_pb2.ListTemplatesRequest(query="soup in a bowl"), timeout=20
    )
    assert found.templates[0].id == "own-food"
    fill = prompt_pb2.ApplyTemplateRequest(id="own-cake", variables={"topping": "berries"})
    filled = await shelf.prompts.ApplyTemplate(fill, timeout=20)
    assert (filled.prompt, filled.style) == ("photograph of a cake with berries", "photographic")
    fill.variables["topping"] = "x" * 41
    error = await error_of(shelf.prompts.ApplyTemplate(fill, timeout=20))
    assert (error.name, error.field) == ("FIELD_INVALID", "variables.topping")
    with identity.acting_as(identity.Identity(tenant="somebody-else")):
        answer = await shelf.prompts.ListTemplates(prompt_pb2.ListTemplatesRequest(page_size=200), timeout=20)
        assert not any(template.own for template in answer.templates)
        error = await error_of(shelf.prompts.ApplyTemplate(fill, timeout=20))
        assert (error.name, error.field) == ("NOT_FOUND", "id")


async def test_without_the_asset_server_the_shipped_templates_are_there_and_the_answer_says_so(
    alone: "prompt_pb2_grpc.PromptServiceAsyncStub",
) -> None:
    answer = await alone.ListTemplates(prompt_pb2.ListTemplatesRequest(query="isometric room"), timeout=20)
    assert answer.own_unavailable
    assert answer.templates
    own = await error_of(alone.ApplyTemplate(prompt_pb2.ApplyTemplateRequest(id="own-cake"), timeout=20))
    assert own.name == "DEPENDENCY_UNAVAILABLE"
    assert own.retry_after


async def test_own_templates_are_found_by_meaning_and_embedded_once(
    whole: "prompt_pb2_grpc.PromptServiceAsyncStub", asset_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded: list[int] = []
    embed = meanings.Meanings._embed

    async def counting(self: meanings.Meanings, texts: list[str]) -> object:
        embedded.append(len(texts))
        return await embed(self, texts)

    monkeypatch.setattr(meanings.Meanings, "_embed", counting)
    with identity.acting_as(identity.Identity(tenant="by-meaning")):
        async with connect(asset_server) as door:
            stub = assets_pb2_grpc.AssetServiceStub(door)
            for name, text in (("boat", "a sailing yacht at sea"), ("plane", "an aircraft above clouds")):
                await stub.CreateTemplate(Shelf.template(f"own-{name}", name, text), timeout=20)
        request = prompt_pb2.ListTemplatesRequest(query="airliner in the sky")
        for _ in range(2):
            embedded.clear()
            answer = await whole.ListTemplates(request, timeout=20)
            assert answer.templates[0].id == "own-plane"
    assert embedded == [1]  # the second time the query alone


async def test_clearer_prompts_are_suggested(alone: "prompt_pb2_grpc.PromptServiceAsyncStub") -> None:
    request = prompt_pb2.SuggestPromptsRequest(prompt="a bat")
    answer = await alone.SuggestPrompts(request, timeout=20)
    assert list(answer.prompts) == [one.prompt for one in answer.suggestions]
    assert len(answer.prompts) == 3
    assert answer.suggestions[0].added["meaning"] == "the flying animal"
    assert "medium" in answer.suggestions[0].added
    assert answer.suggestions[0].reason.startswith("says what is meant: the flying animal, medium: ")
    request.count = 10
    assert len((await alone.SuggestPrompts(request, timeout=20)).prompts) == 10
    without = prompt_pb2.SuggestPromptsRequest(prompt="a bloody knife", avoid=["bloody"])
    assert (await alone.SuggestPrompts(without, timeout=20)).prompts[0] == "a knife"


@pytest.mark.parametrize(("prompt", "style"), DESCRIBED.items())
async def test_styles_are_found_by_meaning(
    whole: "prompt_pb2_grpc.PromptServiceAsyncStub", prompt: str, style: str
) -> None:
    request = prompt_pb2.AnalyzePromptRequest(prompt=prompt)
    analysis = (await whole.AnalyzePrompt(request, timeout=20)).analysis
    assert analysis.styles[0].style == style
    confidences = [match.confidence for match in analysis.styles]
    assert confidences == sorted(confidences, reverse=True)
    assert all(0 < confidence <= 1 for confidence in confidences)


@pytest.mark.parametrize("prompt", IN_NO_STYLE)
async def test_prompts_in_no_style_get_none(
    whole: "prompt_pb2_grpc.PromptServiceAsyncStub", prompt: str
) -> None:
    answer = await enhanced(whole, prompt)
    assert answer.style == ""
    assert answer.prompt.startswith(prompt)


async def test_meaning_counts_again_when_triton_is_back(
    triton: Triton, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meanings, "RETRY_SECONDS", 0.1)
    address = closed_port()
    prompt = "a fox in loose washes of transparent paint on wet paper"

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        near, far = await asyncio.open_connection(*triton.grpc_address.rsplit(":", 1))
        await asyncio.gather(copy(reader, far), copy(near, writer))

    async with prompt_server(tmp_path, address) as stub:
        assert (await enhanced(stub, prompt)).style == ""
        async with await asyncio.start_server(forward, *address.rsplit(":", 1)), asyncio.timeout(20):
            while (await enhanced(stub, prompt)).style != "watercolor":
                await asyncio.sleep(0.1)


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def test_a_hasty_caller_does_not_cost_others_the_model(triton: Triton) -> None:
    prompt = "a fox in loose washes of transparent paint on wet paper"
    async with TritonClient(triton.grpc_address) as client:
        known = exemplars.Exemplars(load().styles, client, timeout=10)
        assert await known.compare(prompt) is not None
        with deadline.until(0.001):
            assert await known.compare(prompt) is None
        assert await known.compare(prompt) is not None


async def test_equal_requests_get_equal_answers(whole: "prompt_pb2_grpc.PromptServiceAsyncStub") -> None:
    first, second = [
        await enhanced(whole, "a fox in loose washes of paint on wet paper", level=RICH) for _ in range(2)
    ]
    assert first == second
    assert first.style == "watercolor"
