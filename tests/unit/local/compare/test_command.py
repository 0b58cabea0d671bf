"""The command against a scripted mesh: what it asks, what it tells, what it leaves behind, how it exits."""

import asyncio
import hashlib
import json

import grpc
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from scrollintel.visual.v1 import generation_pb2, router_pb2
from services.local.compare.command import RESULTS, SHEET, run
from services.local.compare.job import Typed
from services.local.compare.options import compare
from tests.unit.client.scripted import PNG, Script, event, playing, status, whole_life

LIFE = whole_life(digest=hashlib.sha256(PNG).hexdigest())
WEIGHTS = status(grpc.StatusCode.UNAVAILABLE, "sdxl needs weights", "MODEL_NEEDS_WEIGHTS")
LACKING = event(1, failed=generation_pb2.Failed(status=WEIGHTS))
FULL = status(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", "OVERLOADED")
BOTH = [*(("house", moment) for moment in LIFE), ("sdxl", LACKING)]
GOOD = [*(("house", moment) for moment in LIFE), *(("sdxl", moment) for moment in LIFE)]


def typed(address, folder, **fields):
    given = {
        "prompt": "a cat",
        "suite": None,
        "prompts": None,
        "models": "house,sdxl",
        "seed": 7,
        "size": "512x512",
        "quality": None,
        "steps": None,
        "enhancement": None,
        "max_cost": None,
        "in_turn": False,
        "output": folder / "out",
        "as_json": False,
        "timeout": 10.0,
        "address": address,
        "home": folder,
    }
    return Typed(**given | fields)


async def compared(script, folder, **fields):
    async with playing(script) as address:
        return await asyncio.to_thread(run, typed(address, folder, **fields))


async def test_one_prompt_gives_a_table_a_sheet_and_every_figure(tmp_path, capsys):
    assert await compared(Script(compared=BOTH), tmp_path) == 1
    out = capsys.readouterr().out
    assert "triton/b" in out, "the backend that went on"
    assert "sdxl needs weights" in out
    assert "0.75" in out
    assert str(tmp_path / "out" / SHEET) in out
    told = json.loads((tmp_path / "out" / RESULTS).read_text())
    house, sdxl = told["prompts"][0]["results"]
    assert (house["backend"], house["seed"], house["asset"]) == ("triton/b", 7, "g1-0")
    assert house["quality"] == {"overall": 0.75, "sharpness": 0.0}
    assert sdxl["error"]["reason"] == "MODEL_NEEDS_WEIGHTS"
    assert "seconds" not in sdxl
    assert [mean["made"] for mean in told["means"]] == [1, 0]
    with Image.open(tmp_path / "out" / SHEET) as sheet:
        assert sheet.width > sheet.height
    with Image.open(tmp_path / "out" / "a-cat-house.png") as picture:
        assert picture.size == (2, 2)


async def test_a_suite_asks_each_prompt_with_the_same_seed_and_tells_means(tmp_path, capsys):
    script = Script(compared=GOOD)
    assert await compared(script, tmp_path, prompt=None, suite="classic", seed=3) == 0
    asked = [
        request for request in script.requests if isinstance(request, generation_pb2.CompareModelsRequest)
    ]
    assert len(asked) == 4
    assert {(each.spec.image.seed, *each.models) for each in asked} == {(3, "house", "sdxl")}
    assert "4/4" in capsys.readouterr().out
    told = json.loads((tmp_path / "out" / RESULTS).read_text())
    assert told["means"][0]["overall"] == {"mean": 0.75, "deviation": 0.0, "count": 4}


async def test_as_json_nothing_else_is_printed(tmp_path, capsys):
    assert await compared(Script(compared=GOOD), tmp_path, as_json=True) == 0
    caught = capsys.readouterr()
    assert caught.err == ""
    assert json.loads(caught.out) == json.loads((tmp_path / "out" / RESULTS).read_text())


async def test_in_turn_each_model_is_a_generation_by_itself(tmp_path):
    script = Script(LIFE)
    assert await compared(script, tmp_path, in_turn=True, max_cost=0.5) == 0
    asked = [request for request in script.requests if isinstance(request, generation_pb2.GenerateRequest)]
    assert [each.spec.image.model_preference for each in asked] == ["house", "sdxl"]
    assert {each.max_cost_usd for each in asked} == {0.5}


async def test_a_call_that_is_refused_is_one_panel_and_its_exit_code(tmp_path, capsys):
    assert await compared(Script(refusal=FULL), tmp_path) == 5
    caught = capsys.readouterr()
    assert caught.err.count("╭") == 1
    assert caught.out == ""
    assert not (tmp_path / "out").exists()


async def test_in_turn_each_models_refusal_is_its_own(tmp_path, capsys):
    assert await compared(Script(refusal=FULL), tmp_path, in_turn=True) == 5
    assert capsys.readouterr().out.count("full") == 2


async def test_when_nothing_was_made_the_exit_code_is_the_first_failures(tmp_path):
    script = Script(compared=[("house", LACKING), ("sdxl", LACKING)])
    assert await compared(script, tmp_path) == 4
    assert (tmp_path / "out" / SHEET).exists(), "the failures are a result too"


T2I, VIDEO = router_pb2.MODALITY_TEXT_TO_IMAGE, router_pb2.MODALITY_VIDEO
READY, LOADABLE = router_pb2.BACKEND_STATE_READY, router_pb2.BACKEND_STATE_LOADABLE
AWAY = router_pb2.BACKEND_STATE_UNAVAILABLE


def backend(model, modality=T2I, state=READY, paid=False):
    return router_pb2.Backend(name=f"x/{model}", model=model, modality=modality, state=state, paid=paid)


SERVED = [
    backend("house"),
    backend("sdxl", state=LOADABLE),
    backend("film", VIDEO),
    backend("away", state=AWAY),
    backend("dalle", paid=True),
]


@pytest.mark.parametrize(
    ("max_cost", "models"),
    [(None, ["house", "sdxl"]), (0.0, ["house", "sdxl"]), (1.0, ["dalle", "house", "sdxl"])],
)
async def test_without_models_those_that_work_are_taken_and_paid_ones_only_within_a_limit(
    tmp_path, max_cost, models
):
    moments = [(model, moment) for model in models for moment in LIFE]
    script = Script(compared=moments, backends=SERVED)
    assert await compared(script, tmp_path, models=None, max_cost=max_cost) == 0
    assert list(script.requests[0].models) == models


async def test_without_two_models_it_says_what_to_do(tmp_path, capsys):
    assert await compared(Script(backends=SERVED[:1]), tmp_path, models=None) == 3
    assert "only house" in capsys.readouterr().err


@pytest.mark.parametrize(
    "fields",
    [
        {"models": "house"},
        {"models": "house,house"},
        {"models": ",".join("abcdefghi")},
        {"prompt": None},
        {"suite": "classic"},
        {"prompt": None, "suite": "romantic"},
        {"size": "wide"},
        {"quality": "best"},
    ],
)
async def test_what_cannot_be_compared_is_a_panel_and_nothing_is_asked(tmp_path, capsys, fields):
    script = Script(compared=GOOD)
    assert await compared(script, tmp_path, **fields) == 3
    assert not script.requests
    assert not (tmp_path / "out").exists()
    assert capsys.readouterr().err.count("╭") == 1


async def test_a_folder_that_cannot_be_written_is_told(tmp_path, capsys):
    (tmp_path / "out").write_text("a file")
    assert await compared(Script(compared=GOOD), tmp_path) == 1
    assert "cannot write" in capsys.readouterr().err


async def test_every_option_arrives(tmp_path):
    app = typer.Typer()
    app.command()(compare)
    script = Script(LIFE)
    async with playing(script) as address:
        options = (
            f"--models house,sdxl --seed 9 --size 640x384 --quality draft --steps 3 --enhancement none --max-cost 0.5 "
            f"--in-turn --timeout 20 --address {address} --home {tmp_path} -o {tmp_path}/out --json"
        )
        result = await asyncio.to_thread(CliRunner().invoke, app, ["a cat", *options.split()])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["request"] == {
        "width": 640,
        "height": 384,
        "seed": 9,
        "steps": 3,
        "quality": "draft",
        "enhancement_level": "none",
    }
    (asked, *_) = [
        request for request in script.requests if isinstance(request, generation_pb2.GenerateRequest)
    ]
    assert (asked.max_cost_usd, asked.spec.image.steps, asked.spec.image.width) == (0.5, 3, 640)
