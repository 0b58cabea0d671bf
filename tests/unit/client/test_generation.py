"""A generation as its caller holds it: events, result, cancelling, failing."""

import asyncio
import hashlib

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from scrollintel.visual import (
    Checked,
    Completed,
    DeadlineExceededError,
    Deblur,
    Denoise,
    Failed,
    Fallback,
    GenerationCancelledError,
    InternalError,
    MeshUnavailableError,
    Output,
    Preview,
    PromptEnhanced,
    PromptError,
    Queued,
    ResourceError,
    RestoreFaces,
    Routed,
    SafetyCategory,
    Scored,
    Stage,
    Step,
    Upscale,
    VisualClient,
)
from scrollintel.visual.v1 import errors_pb2, generation_pb2
from tests.unit.client.scripted import PNG, Script, event, playing, status, whole_life

DIGEST = hashlib.sha256(PNG).hexdigest()


async def test_every_kind_of_event_arrives_typed_and_then_the_result():
    async with playing(Script(whole_life(digest=DIGEST))) as address, VisualClient(address) as client:
        generation = client.generate_image("a cat", seed=7)
        seen = [event async for event in generation]
        result = await generation.result()
    kinds = [
        Queued,
        Checked,
        PromptEnhanced,
        Routed,
        Step,
        Preview,
        Fallback,
        Step,
        Output,
        Scored,
        Completed,
    ]
    assert [type(event) for event in seen] == kinds
    assert [event.sequence for event in seen] == list(range(1, 12))
    queued, checked, _, routed, step, _, fallback, *_ = seen
    assert (queued.position, queued.eta) == (2, 3.0)
    assert checked.findings[0].category is SafetyCategory.VIOLENCE
    assert routed.chosen.predicted_seconds == 1.5
    assert routed.runners_up[0].refusal == "it needs weights"
    assert (step.stage, step.k, step.n) == (Stage.DRAW, 1, 2)
    assert (fallback.failed, fallback.chosen) == ("triton/a", "triton/b")
    assert generation.id == result.id == "g1"
    assert result is seen[-1].result
    assert result.quality.sharpness.value == 0.0, "a score of 0 was measured"
    assert result.quality.aesthetic is None, "a score that was not measured is None"
    assert result.assets[0].seed == 7


async def test_the_result_alone():
    async with playing(Script(whole_life(digest=DIGEST))) as address, VisualClient(address) as client:
        result = await client.generate_image("a cat").result()
    assert result.model_used == "text_to_image_house"
    assert result.seconds == 1.0


async def test_the_request_carries_what_was_given_and_leaves_out_what_was_not():
    script = Script(whole_life())
    async with playing(script) as address, VisualClient(address, api_key="k") as client:
        await client.generate_image(
            "a cat", width=512, steps=4, quality="draft", objective="latency", enhancement_level="none"
        ).result()
    (request,) = script.requests
    image = request.spec.image
    assert (image.prompt, image.width, image.steps, image.quality) == ("a cat", 512, 4, 1)
    assert not image.HasField("height")
    assert not image.HasField("num_images")
    assert request.objective == 3
    assert len(request.request_id) == 32
    assert script.metadata["authorization"] == "Bearer k"


async def test_an_asset_is_read_in_chunks_and_checked(tmp_path):
    async with playing(Script(whole_life(digest=DIGEST))) as address, VisualClient(address) as client:
        asset = (await client.generate_image("a cat").result()).assets[0]
        assert await asset.read() == PNG
        assert (await asset.save(tmp_path / "new" / "cat.png")).read_bytes() == PNG


async def test_an_asset_with_other_bytes_is_refused():
    async with playing(Script(whole_life(digest="0" * 64))) as address, VisualClient(address) as client:
        asset = (await client.generate_image("a cat").result()).assets[0]
        with pytest.raises(InternalError, match="digest"):
            await asset.read()


async def test_a_refused_call_raises_with_its_details():
    wait = Duration(seconds=2)
    full = status(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "full",
        "OVERLOADED",
        error_details_pb2.RetryInfo(retry_delay=wait),
        errors_pb2.ResourceErrorDetail(
            estimated_wait=Duration(seconds=9), queue_position=65, retry_after=wait
        ),
    )
    async with playing(Script(refusal=full)) as address, VisualClient(address) as client:
        generation = client.generate_image("a cat")
        with pytest.raises(ResourceError, match="full") as caught:
            await anext(generation)
        with pytest.raises(ResourceError):
            await generation.result()
    error = caught.value
    assert (error.reason, error.retry_after, error.estimated_wait, error.queue_position) == (
        "OVERLOADED",
        2.0,
        9.0,
        65,
    )


async def test_a_generation_that_fails_ends_with_failed_and_its_result_raises():
    failed = generation_pb2.Failed(status=status(grpc.StatusCode.UNAVAILABLE, "it stopped", "MODEL_FAILED"))
    script = Script([*whole_life()[:3], event(4, failed=failed)])
    async with playing(script) as address, VisualClient(address) as client:
        generation = client.generate_image("a cat")
        seen = [event async for event in generation]
        with pytest.raises(type(seen[-1].error), match="it stopped"):
            await generation.result()
    assert isinstance(seen[-1], Failed)


async def test_cancelling_is_told_by_the_events():
    script = Script(whole_life()[:5], hangs=True)
    async with playing(script) as address, VisualClient(address) as client:
        generation = client.generate_image("a cat")
        seen = []
        async for moment in generation:
            seen.append(moment)
            if isinstance(moment, Step):
                await generation.cancel()
        with pytest.raises(GenerationCancelledError):
            await generation.result()
        await generation.cancel()
    assert isinstance(seen[-1], Failed)
    assert [request.id for request in script.requests[1:]] == ["g1"], "cancelled once, by its id"


async def test_cancelling_before_the_first_event_closes_the_stream():
    script = Script(hangs=True)
    async with playing(script) as address, VisualClient(address) as client:
        generation = client.generate_image("a cat")
        reader = asyncio.create_task(generation.result())
        await asyncio.wait_for(script.called.wait(), 20)
        await generation.cancel()
        with pytest.raises(GenerationCancelledError):
            await asyncio.wait_for(reader, 20)
        await asyncio.wait_for(script.closed.wait(), 20)


async def test_a_cancelled_task_stops_the_work():
    script = Script(whole_life()[:5], hangs=True)
    async with playing(script) as address, VisualClient(address) as client:
        reader = asyncio.create_task(client.generate_image("a cat").result())
        await asyncio.wait_for(script.called.wait(), 20)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        await asyncio.wait_for(script.closed.wait(), 20)


async def test_leaving_the_context_stops_the_work():
    script = Script(whole_life()[:5], hangs=True)
    async with playing(script) as address, VisualClient(address) as client:
        async with client.generate_image("a cat") as generation:
            await anext(generation)
        await asyncio.wait_for(script.closed.wait(), 20)
    assert script.cancelled.is_set()


async def test_the_timeout_passes():
    async with playing(Script(whole_life()[:2], hangs=True)) as address, VisualClient(address) as client:
        with pytest.raises(DeadlineExceededError, match="timeout"):
            await client.generate_image("a cat", timeout=1.0).result()


async def test_nobody_answers():
    async with VisualClient("127.0.0.1:1") as client:
        with pytest.raises(MeshUnavailableError, match=r"127\.0\.0\.1:1"):
            await client.generate_image("a cat").result()


async def test_a_stream_that_ends_without_a_word_is_a_failure():
    async with playing(Script(whole_life()[:3])) as address, VisualClient(address) as client:
        with pytest.raises(InternalError, match="without saying"):
            await client.generate_image("a cat").result()


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("steps", 10**12, "does not fit"),
        ("width", -(2**40), "does not fit"),
        ("seed", 2**70, "does not fit"),
        ("steps", 2.5, "must be of type int"),
        ("width", "wide", "must be of type int"),
        ("guidance_scale", "strong", "must be of type float"),
        ("style", 7, "must be of type str"),
        ("negative_prompt", "\ud800", "Unicode"),
        ("quality", "hihg", "draft, standard, high"),
        ("enhancement_level", "unspecified", "none, light"),
        ("quality", 0, "draft, standard, high"),
    ],
)
async def test_what_protobuf_would_refuse_is_a_prompt_error(field, value, rule):
    async with VisualClient("127.0.0.1:1") as client:
        with pytest.raises(PromptError, match=rule) as caught:
            client.generate_image("a cat", **{field: value})
    assert caught.value.field == f"spec.image.{field}"
    assert caught.value.reason == "FIELD_INVALID"


async def test_a_misspelt_word_is_guessed():
    async with VisualClient("127.0.0.1:1") as client:
        with pytest.raises(PromptError) as caught:
            client.generate_image("a cat", quality="hihg")
    assert caught.value.suggestions == ("high",)


async def test_enlarging_wants_a_factor_or_a_size():
    script = Script(whole_life(digest=DIGEST))
    async with playing(script) as address, VisualClient(address) as client:
        asset = (await client.generate_image("a cat").result()).assets[0]
        await client.enhance_image(asset, Upscale(factor=2)).result()
        for wrong in (Upscale(factor=2, width=100, height=100), Upscale(width=100), Upscale()):
            with pytest.raises(PromptError, match="factor or both") as caught:
                client.enhance_image(asset, Denoise(), wrong)
            assert caught.value.field == "spec.enhancement.operations[1].upscale.target"
        with pytest.raises(PromptError, match="at least one operation"):
            client.enhance_image(asset)
    sent = script.requests[-1].spec.enhancement
    assert sent.source.sha256 == DIGEST
    assert sent.operations[0].upscale.factor == 2


async def test_operations_are_sent_in_the_order_given():
    script = Script(whole_life(digest=DIGEST))
    async with playing(script) as address, VisualClient(address) as client:
        asset = (await client.generate_image("a cat").result()).assets[0]
        steps: list[Step] = []
        made = await client.enhance(
            asset,
            Denoise(),
            RestoreFaces(fidelity=0.25),
            Deblur(),
            Upscale(width=10, height=20, variant="x4plus"),
            on_step=steps.append,
        )
    assert made.media.sha256 == DIGEST
    assert steps
    sent = [
        (operation.WhichOneof("operation"), getattr(operation, operation.WhichOneof("operation")))
        for operation in script.requests[-1].spec.enhancement.operations
    ]
    assert [name for name, _ in sent] == ["denoise", "restore_faces", "deblur", "upscale"]
    assert sent[1][1].fidelity == 0.25
    assert (sent[3][1].size.width, sent[3][1].size.height, sent[3][1].variant) == (10, 20, "x4plus")
