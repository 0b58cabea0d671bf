"""The adapter for Runway, over Runway's own library, against a server that speaks Runway's HTTP."""

import base64
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import pytest_asyncio

from router.backends.protocol import Source, Step
from router.backends.provider import CannotTellError, Cost, Ticket
from router.backends.runway import MAX_URI, RunwayAccount, RunwayProvider
from router.sizes import Size
from router.snapshot import State
from scrollintel.visual.v1 import errors_pb2
from services.runtime.errors import MeshError
from tests.contract.providers.http_server import Answer
from tests.contract.providers.jobs import REFERENCE, JobContract, Scene, failure, lost, making, refusal
from tests.contract.providers.runway_server import (
    CANCELLED,
    PENDING,
    THROTTLED,
    RunwayServer,
    failed,
    running,
)
from tests.contract.providers.samples import PROMPT, job, mp4, png

VIDEO = job(duration=5.0)
STATES = [PENDING, THROTTLED, running(0.25), running(0.755)]
CREATE = ("POST", "/v1/text_to_video")


@pytest_asyncio.fixture
async def scene() -> AsyncIterator[Scene]:
    with RunwayServer(mp4(), STATES) as server:
        async with making(RunwayProvider, RunwayAccount, "runway/gen4.5") as make:
            yield Scene(
                server,
                make(server.url),
                make,
                VIDEO,
                "video/mp4",
                submit=CREATE,
                look=("GET", "/v1/tasks/"),
                cancel=("DELETE", "/v1/tasks/"),
                slow=lambda: server.end(running(0.1)),
                fail=lambda: server.end(failed("INTERNAL.BAD_OUTPUT.CODE01")),
                refuse=lambda: server.end(failed("SAFETY.INPUT.TEXT")),
                forget=lambda ticket: server.tasks.pop(ticket.job),
            )


class TestRunway(JobContract):
    """What all adapters for jobs do, and what is Runway's own."""

    async def test_progress_is_told_in_hundredths(self, scene: Scene) -> None:
        steps = (await scene.followed(await scene.submitted()))[:-1]
        assert steps == [Step(25, 100), Step(76, 100)]

    async def test_what_a_task_costs_is_told_in_dollars(self, scene: Scene) -> None:
        assert (await scene.submitted()).usd == pytest.approx(0.6)

    async def test_a_video_from_words(self, scene: Scene) -> None:
        await scene.submitted()
        request = scene.server.requests[-1]
        assert request.json == {
            "model": "gen4.5",
            "promptText": PROMPT,
            "ratio": "1280:720",
            "duration": 5,
            "seed": 7,
        }

    async def test_a_video_from_a_picture(self, scene: Scene) -> None:
        source = Source(png(), "image/png")
        await scene.provider.submit(job(duration=2.0, source=source), REFERENCE, 5)
        request = scene.server.requests[-1]
        uri = f"data:image/png;base64,{base64.b64encode(png()).decode()}"
        assert request.path == "/v1/image_to_video"
        assert request.json["promptImage"] == uri
        assert request.json["duration"] == 2

    async def test_what_a_model_is_always_sent(self, scene: Scene) -> None:
        video = scene.make(
            scene.server.url, provider_model="veo3.1", negative_prompts=True, request={"audio": False}
        )
        await video.submit(job(duration=4.0, negative_prompt="fog", seeds=(2**32 + 3,)), REFERENCE, 5)
        sent = scene.server.requests[-1].json
        assert (sent["audio"], sent["negativePrompt"], sent["seed"]) == (False, "fog", 3)

    async def test_a_picture(self) -> None:
        with RunwayServer(png()) as server:
            async with making(RunwayProvider, RunwayAccount, "runway/gen4-image") as make:
                pictures = make(server.url)
                source = Source(png(), "image/png")
                ticket = await pictures.submit(job(size=Size(960, 720), source=source), REFERENCE, 5)
                request = server.requests[-1]
                assert request.path == "/v1/text_to_image"
                assert request.json["referenceImages"][0]["uri"].startswith("data:image/png;base64,")
                assert "duration" not in request.json
                cost, media = [event async for event in pictures.follow(ticket, 5)]
                assert cost == Cost(0.6)
                assert (media.data, media.media_type) == (png(), "image/png")

    async def test_a_prompt_that_is_too_long_is_not_sent(self, scene: Scene) -> None:
        error = await refusal(scene.provider.submit(job(duration=5.0, prompt="🌊" * 501), REFERENCE, 5))
        assert (error.reason, error.field) == (errors_pb2.ERROR_REASON_FIELD_INVALID, "spec.prompt")
        assert scene.paid == 0

    async def test_a_picture_that_is_too_large_is_not_sent(self, scene: Scene) -> None:
        source = Source(bytes(MAX_URI * 3 // 4), "image/png")
        error = await refusal(scene.provider.submit(job(duration=5.0, source=source), REFERENCE, 5))
        assert (error.reason, error.field) == (errors_pb2.ERROR_REASON_FIELD_INVALID, "spec.source_image")
        assert not scene.server.requests

    @pytest.mark.parametrize(
        ("ending", "reason"),
        [
            (failed("SAFETY.OUTPUT.VIDEO"), errors_pb2.ERROR_REASON_PROMPT_UNSAFE),
            (failed("INPUT_PREPROCESSING.SAFETY.TEXT"), errors_pb2.ERROR_REASON_PROMPT_UNSAFE),
            (failed("INPUT_PREPROCESSING.INTERNAL"), errors_pb2.ERROR_REASON_MODEL_FAILED),
            (failed("ASSET.INVALID"), errors_pb2.ERROR_REASON_MODEL_FAILED),
            ({"status": "FAILED", "failureCode": None}, errors_pb2.ERROR_REASON_MODEL_FAILED),
            (CANCELLED, errors_pb2.ERROR_REASON_MODEL_FAILED),
        ],
        ids=lambda value: str(value)[:60],
    )
    async def test_how_a_task_ends_badly(self, scene: Scene, ending: dict[str, object], reason: int) -> None:
        scene.server.end(ending)
        assert (await failure(scene.followed(await scene.submitted()))).reason == reason

    @pytest.mark.parametrize("ending", [{"status": "SUCCEEDED"}, failed("SAFETY.INPUT.TEXT"), CANCELLED])
    async def test_what_a_task_cost_is_told_however_it_ended(
        self, scene: Scene, ending: dict[str, object]
    ) -> None:
        scene.server.end(ending | {"cost": {"credits": 25}})
        ticket, told = await scene.submitted(), None
        with suppress(MeshError):
            async for event in scene.provider.follow(Ticket(ticket.job), 5):
                told = event if isinstance(event, Cost) else told
        assert told == Cost(0.25)

    async def test_a_task_that_was_stopped_already_is(self, scene: Scene) -> None:
        scene.server.end(CANCELLED)
        ticket = await scene.submitted()
        with suppress(MeshError):
            await scene.followed(ticket)
        assert await scene.provider.cancel(ticket, 1)

    async def test_a_task_that_ends_well_without_a_file_was_paid_for(self, scene: Scene) -> None:
        scene.server.end({"status": "SUCCEEDED", "output": []})
        assert "no file" in await lost(scene.followed(await scene.submitted()))

    async def test_no_more_is_fetched_than_a_task_makes(self, scene: Scene) -> None:
        files = [f"{scene.server.url}/files/{number}" for number in range(3)]
        scene.server.end({"status": "SUCCEEDED", "output": files})
        await scene.followed(await scene.submitted())
        assert scene.server.count("GET", "/files/") == 1

    async def test_a_status_that_nobody_knows_leaves_the_task_open(self, scene: Scene) -> None:
        scene.server.end({"status": "PONDERING"})
        error = await failure(scene.followed(await scene.submitted(), 0.2))
        assert error.reason == errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE

    async def test_a_task_cannot_be_found_by_reference(self, scene: Scene) -> None:
        with pytest.raises(CannotTellError):
            await scene.provider.find(REFERENCE, 5)

    async def test_it_is_off_without_a_key(self, scene: Scene) -> None:
        assert scene.make(scene.server.url, "").state() is State.NOT_CONFIGURED

    async def test_a_redirect_is_not_followed_with_the_key(self, scene: Scene) -> None:
        scene.server.fault(*CREATE, Answer(status=307, headers={"Location": f"{scene.server.url}/elsewhere"}))
        error = await refusal(scene.submitted())
        assert error.reason == errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE
        assert scene.server.count("POST", "/elsewhere") == 0
