"""Several models at one picture, as their caller holds them."""

import asyncio
import hashlib

import grpc
import pytest

from scrollintel.visual import (
    Asset,
    Completed,
    Failed,
    GenerationCancelledError,
    GenerationResult,
    InternalError,
    ModelError,
    NotFoundError,
    PromptError,
    ResourceError,
    VisualClient,
)
from scrollintel.visual.v1 import generation_pb2, usage_pb2
from tests.unit.client.scripted import PNG, Script, event, playing, status, whole_life

DIGEST = hashlib.sha256(PNG).hexdigest()
UNKNOWN = status(grpc.StatusCode.INVALID_ARGUMENT, "no backend serves b", "MODEL_UNKNOWN")
FAILED = event(1, failed=generation_pb2.Failed(status=UNKNOWN))
LIFE = whole_life(digest=DIGEST)
BOTH = [*(("a", moment) for moment in LIFE[:3]), ("b", FAILED), *(("a", moment) for moment in LIFE[3:])]


async def test_events_come_with_their_model_and_then_the_results():
    script = Script(compared=BOTH)
    async with playing(script) as address, VisualClient(address) as client:
        comparison = client.compare_models("a cat", models=["b", "a"], seed=7, width=512, max_cost_usd=0.1)
        told = [(model, type(moment)) async for model, moment in comparison]
        results = await comparison.results()
        picture = await results["a"].assets[0].read()
    assert told[3] == ("b", Failed)
    assert told[-1] == ("a", Completed)
    assert list(results) == ["b", "a"], "in the order in which they were named"
    assert isinstance(results["b"], PromptError)
    assert isinstance(results["a"], GenerationResult)
    assert picture == PNG
    (request, _) = script.requests
    assert list(request.models) == ["b", "a"]
    assert (request.spec.image.seed, request.spec.image.width, request.max_cost_usd) == (7, 512, 0.1)
    assert request.request_id == comparison.request_id


async def test_results_can_be_had_without_reading_the_events():
    async with playing(Script(compared=BOTH)) as address, VisualClient(address) as client:
        results = await client.compare_models("a cat", models=["a", "b"]).results()
    assert isinstance(results["a"], GenerationResult)


async def test_a_refused_comparison_raises_the_same_each_time_it_is_asked():
    full = status(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", "OVERLOADED")
    async with playing(Script(refusal=full)) as address, VisualClient(address) as client:
        comparison = client.compare_models("a cat", models=["a", "b"])
        with pytest.raises(ResourceError):
            await anext(comparison)
        with pytest.raises(ResourceError):
            await comparison.results()


async def test_a_stream_that_ends_without_saying_how_is_an_error_that_names_the_model():
    async with playing(Script(compared=BOTH[:5])) as address, VisualClient(address) as client:
        with pytest.raises(InternalError, match="how a ended"):
            await client.compare_models("a cat", models=["a", "b"]).results()


async def test_closing_it_stops_it_on_the_other_side():
    script = Script(compared=BOTH[:2], hangs=True)
    async with playing(script) as address, VisualClient(address) as client:
        comparison = client.compare_models("a cat", models=["a", "b"])
        await anext(comparison)
        await anext(comparison)
        comparison.close()
        with pytest.raises(GenerationCancelledError):
            await comparison.results()
        await asyncio.wait_for(script.closed.wait(), 20)


async def test_leaving_it_or_cancelling_its_reader_stops_it():
    for cancels in (True, False):
        script = Script(hangs=True)
        async with playing(script) as address, VisualClient(address) as client:

            async def read(client=client):
                async with client.compare_models("a cat", models=["a", "b"]) as comparison:
                    await comparison.results()

            task = asyncio.create_task(read())
            await asyncio.wait_for(script.called.wait(), 20)
            if cancels:
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            else:
                await client.close()
                with pytest.raises((GenerationCancelledError, asyncio.CancelledError)):
                    await task
            await asyncio.wait_for(script.closed.wait(), 20)


@pytest.mark.parametrize("fields", [{"width": 10**12}, {"quality": "best"}, {"seed": "seven"}])
async def test_a_value_that_fits_no_field_is_a_prompt_error(fields):
    async with playing(Script()) as address, VisualClient(address) as client:
        with pytest.raises(PromptError):
            client.compare_models("a cat", models=["a", "b"], **fields)


async def test_what_a_picture_may_cost_who_asks_and_what_to_change_are_sent():
    script = Script(LIFE)
    async with playing(script) as address, VisualClient(address) as client:
        source: Asset = (await client.generate_image("a cat").result()).assets[0]
        generation = client.generate_image("in snow", source_image=source, max_cost_usd=0, user="ada")
        await generation.result()
        await client.generate_image("in snow", source_image=source.media).result()
    _, asked, by_media = script.requests
    assert asked.spec.image.source_image.sha256 == source.media.sha256
    assert asked.spec.image.source_image == by_media.spec.image.source_image
    assert (asked.HasField("max_cost_usd"), asked.max_cost_usd, asked.user) == (True, 0, "ada")
    assert not by_media.HasField("max_cost_usd")


async def test_a_rating_is_told():
    script = Script()
    async with playing(script) as address, VisualClient(address) as client:
        await client.rate("gen-1", 4)
    (request,) = script.requests
    named = usage_pb2.RecordFeedbackRequest(request_id=request.request_id, generation_id="gen-1", rating=4)
    assert request == named
    assert request.request_id


async def test_a_rating_of_nothing_is_told_as_such():
    missing = status(grpc.StatusCode.NOT_FOUND, "no such generation", "NOT_FOUND")
    async with playing(Script(refusal=missing)) as address, VisualClient(address) as client:
        with pytest.raises(NotFoundError):
            await client.rate("gen-1", 4)
        with pytest.raises(PromptError):
            await client.rate("gen-1", 10**12)


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (grpc.StatusCode.UNKNOWN, "OUTCOME_UNKNOWN", ModelError),
        (grpc.StatusCode.UNAVAILABLE, "NO_BACKEND", ModelError),
    ],
)
async def test_what_only_paid_or_chosen_backends_answer_is_a_model_error(code, reason, kind):
    failed = event(1, failed=generation_pb2.Failed(status=status(code, "in words", reason)))
    script = Script(compared=[("a", failed), ("b", FAILED)])
    async with playing(script) as address, VisualClient(address) as client:
        results = await client.compare_models("a cat", models=["a", "b"]).results()
    assert (type(results["a"]), results["a"].reason) == (kind, reason)
