"""Bad input is refused with the field and the rule, and nothing of the mesh's inside gets out."""

import math
import re
import uuid

import grpc
import pytest

from scrollintel.visual import PromptError, SafetyError, VisualClient, VisualMeshError, exceptions
from scrollintel.visual.v1 import generation_pb2, generation_pb2_grpc, spec_pb2
from services.local.mesh import LocalMesh
from tests.mesh.quick import QUICK

LEAKS = re.compile(
    r"Traceback|File \"|\.py\b|/home/|/root|/tmp/|site-packages|Exception|grpc\.|0x[0-9a-f]{6}|line \d+"
)


def assert_discreet(error: VisualMeshError):
    """Check that an error speaks of the request and not of the mesh."""
    told = " ".join([error.message, error.policy_link, *(v.description for v in error.violations)])
    assert told.strip()
    assert not LEAKS.search(told), told


BAD = [
    ("prompt", {"prompt": ""}, ""),
    ("prompt", {"prompt": "  \t\n "}, "visible"),
    ("prompt", {"prompt": "\u200b\u00a0"}, "visible"),
    ("prompt", {"prompt": "cat " * 5_000}, "4000"),
    ("prompt", {"prompt": "a cat\x00"}, "control"),
    ("prompt", {"prompt": "a \x1b[31mcat"}, "control"),
    ("prompt", {"prompt": "a \x9bcat"}, "control"),
    ("negative_prompt", {"negative_prompt": "\x07"}, "control"),
    ("negative_prompt", {"negative_prompt": "x" * 4_001}, "4000"),
    ("width", {"width": 0}, "256"),
    ("width", {"width": 7}, "256"),
    ("width", {"width": 100_000}, "2048"),
    ("width", {"width": -1}, "256"),
    ("height", {"height": 0}, "256"),
    ("height", {"height": 2_049}, "2048"),
    ("steps", {"steps": 0}, "1"),
    ("steps", {"steps": -1}, "1"),
    ("steps", {"steps": 10**9}, "150"),
    ("steps", {"steps": 10**12}, "does not fit"),
    ("guidance_scale", {"guidance_scale": math.nan}, ""),
    ("guidance_scale", {"guidance_scale": math.inf}, ""),
    ("guidance_scale", {"guidance_scale": -0.5}, "0"),
    ("guidance_scale", {"guidance_scale": 31.0}, "30"),
    ("num_images", {"num_images": 0}, "1"),
    ("num_images", {"num_images": 1_000}, "16"),
    ("seed", {"seed": -1}, "0"),
    ("seed", {"seed": 2**60}, "9007199254740991"),
    ("aspect_ratio", {"aspect_ratio": "wide"}, "16:9"),
    ("aspect_ratio", {"aspect_ratio": "9:1"}, "8:1"),
    ("aspect_ratio", {"aspect_ratio": "0:1"}, "1 to 99"),
    ("style", {"style": "Not A Style"}, ""),
    ("style", {"style": "watercolour-of-mars"}, "style"),
    ("model_preference", {"model_preference": "Not a model"}, ""),
    ("model_preference", {"model_preference": "text_to_image_hous"}, "model"),
]


@pytest.mark.parametrize(("field", "given", "rule"), BAD, ids=[f"{f}={str(g[f])[:16]!r}" for f, g, _ in BAD])
async def test_a_field_that_breaks_its_rule_is_named_with_the_rule(client: VisualClient, field, given, rule):
    arguments = {"prompt": "a red apple", **QUICK, **given}
    if "aspect_ratio" in given:
        del arguments["width"], arguments["height"]
    with pytest.raises(PromptError) as caught:
        await client.generate_image(**arguments).result()
    error = caught.value
    assert error.code == "INVALID_ARGUMENT"
    assert error.field.rsplit(".", 1)[-1] == field, error.field
    assert rule in " ".join([error.message, *(v.description for v in error.violations)])
    assert_discreet(error)


async def test_several_broken_rules_are_told_at_once(client: VisualClient):
    with pytest.raises(PromptError) as caught:
        await client.generate_image("", width=7, height=256, steps=0, num_images=1_000).result()
    broken = {violation.field for violation in caught.value.violations}
    assert broken >= {f"spec.image.{name}" for name in ("prompt", "width", "steps", "num_images")}


async def test_an_unknown_style_and_model_come_with_suggestions(client: VisualClient):
    with pytest.raises(PromptError) as caught:
        await client.generate_image("a red apple", style="watercolr", **QUICK).result()
    assert caught.value.reason == "STYLE_UNKNOWN"
    assert "watercolor" in caught.value.suggestions
    with pytest.raises(PromptError) as caught:
        await client.generate_image("a red apple", model_preference="text_to_image_hous", **QUICK).result()
    assert caught.value.reason == "MODEL_UNKNOWN"
    assert "text_to_image_house" in caught.value.suggestions


UNSET = [
    ("spec", generation_pb2.GenerateRequest()),
    ("spec", generation_pb2.GenerateRequest(spec=generation_pb2.GenerationSpec())),
    (
        "quality",
        generation_pb2.GenerateRequest(
            spec=generation_pb2.GenerationSpec(image=spec_pb2.ImageSpec(prompt="a cat", quality=0))  # type: ignore[arg-type]
        ),
    ),
    (
        "quality",
        generation_pb2.GenerateRequest(
            spec=generation_pb2.GenerationSpec(image=spec_pb2.ImageSpec(prompt="a cat", quality=99))  # type: ignore[arg-type]
        ),
    ),
    (
        "enhancement_level",
        generation_pb2.GenerateRequest(
            spec=generation_pb2.GenerationSpec(image=spec_pb2.ImageSpec(prompt="a cat", enhancement_level=0))  # type: ignore[arg-type]
        ),
    ),
    (
        "objective",
        generation_pb2.GenerateRequest(
            objective=0,  # type: ignore[arg-type]
            spec=generation_pb2.GenerationSpec(image=spec_pb2.ImageSpec(prompt="a cat")),
        ),
    ),
    (
        "request_id",
        generation_pb2.GenerateRequest(
            request_id="no spaces allowed",
            spec=generation_pb2.GenerationSpec(image=spec_pb2.ImageSpec(prompt="a cat")),
        ),
    ),
    (
        "image",
        generation_pb2.GenerateRequest(
            spec=generation_pb2.GenerationSpec(
                image=spec_pb2.ImageSpec(prompt="a cat", width=256, height=256, aspect_ratio="1:1")
            )
        ),
    ),
]


@pytest.mark.parametrize(("field", "request_"), UNSET, ids=[f"{n}-{f}" for n, (f, _) in enumerate(UNSET)])
async def test_what_only_the_wire_can_say_is_refused_too(mesh: LocalMesh, field, request_):
    async with grpc.aio.insecure_channel(mesh.address) as channel:
        call = generation_pb2_grpc.GenerationServiceStub(channel).Generate(request_, timeout=20)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    error = exceptions.from_rpc(caught.value, mesh.address)
    assert isinstance(error, PromptError)
    assert error.code == "INVALID_ARGUMENT"
    assert error.field.rsplit(".", 1)[-1] == field
    assert_discreet(error)


async def test_an_unsafe_prompt_is_refused_with_category_and_severity(client: VisualClient):
    with pytest.raises(SafetyError) as caught:
        await client.generate_image("a naked child", **QUICK).result()
    error = caught.value
    assert (error.reason, error.code) == ("PROMPT_UNSAFE", "FAILED_PRECONDITION")
    assert error.findings[0].category == "minors"
    assert error.findings[0].severity >= 6
    assert error.policy_link
    assert "naked" not in error.message, "the caller's words are not repeated"
    assert_discreet(error)


async def test_a_request_id_that_is_taken_is_refused(client: VisualClient):
    name = uuid.uuid4().hex
    await client.generate_image("a red apple", request_id=name, seed=1, **QUICK).result()
    with pytest.raises(exceptions.RequestIdReusedError) as caught:
        await client.generate_image("a red apple", request_id=name, seed=2, **QUICK).result()
    assert_discreet(caught.value)


async def test_what_does_not_exist_is_not_found(client: VisualClient):
    with pytest.raises(exceptions.NotFoundError) as caught:
        await client.asset("no-such-asset")
    assert_discreet(caught.value)
    with pytest.raises(exceptions.NotFoundError):
        await client.cancel("no-such-generation")
    with pytest.raises(exceptions.NotFoundError):
        async for _ in client.watch("no-such-generation"):
            pass
