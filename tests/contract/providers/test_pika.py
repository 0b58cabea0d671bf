"""The adapter for Pika, over fal's own library, against a server that speaks fal's queue."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from router.backends.fal_queue import FalAccount
from router.backends.pika import PikaProvider
from router.backends.protocol import Source, Step
from router.backends.provider import CannotTellError
from router.sizes import Size
from router.snapshot import State
from scrollintel.visual.v1 import errors_pb2
from tests.contract.providers.http_server import RUBBISH, Answer
from tests.contract.providers.jobs import REFERENCE, JobContract, Scene, failure, lost, making, refusal
from tests.contract.providers.pika_server import (
    APP,
    REQUESTS,
    RUNNING,
    PikaServer,
    model_error,
    queued,
    request_error,
)
from tests.contract.providers.samples import PROMPT, job, mp4, png

VIDEO = job(duration=5.0)
STATES = [queued(2), queued(0), RUNNING, RUNNING]


@pytest_asyncio.fixture
async def scene() -> AsyncIterator[Scene]:
    with PikaServer(mp4(), STATES) as server:
        async with making(PikaProvider, FalAccount, "pika/pika-2.2") as make:

            def result(answer: Answer) -> None:
                server.result = answer

            yield Scene(
                server,
                make(server.url),
                make,
                VIDEO,
                "video/mp4",
                submit=("POST", f"{APP}/"),
                look=("GET", REQUESTS),
                cancel=("PUT", REQUESTS),
                slow=lambda: server.end(queued(3)),
                fail=lambda: result(request_error("runner_server_error", 500)),
                refuse=lambda: result(model_error("content_policy_violation")),
                forget=lambda ticket: server.jobs.pop(ticket.job),
            )


class TestPika(JobContract):
    """What all adapters for jobs do, and what is Pika's own."""

    async def test_that_it_began_is_all_the_progress(self, scene: Scene) -> None:
        assert (await scene.followed(await scene.submitted()))[:-1] == [Step(1, 100)]

    async def test_a_video_from_words(self, scene: Scene) -> None:
        await scene.provider.submit(
            job(duration=5.0, negative_prompt="fog", size=Size(1080, 1920)), REFERENCE, 5
        )
        request = scene.server.requests[-1]
        assert request.path == "/fal-ai/pika/v2.2/text-to-video"
        assert request.json == {
            "prompt": PROMPT,
            "negative_prompt": "fog",
            "resolution": "1080p",
            "aspect_ratio": "9:16",
            "duration": 5,
            "seed": 7,
        }

    async def test_a_video_from_a_picture(self, scene: Scene) -> None:
        ticket = await scene.provider.submit(
            job(duration=5.0, source=Source(png(), "image/png")), REFERENCE, 5
        )
        request = scene.server.requests[-1]
        assert request.path == "/fal-ai/pika/v2.2/image-to-video"
        assert request.json["image_url"].startswith("data:image/png;base64,")
        assert "aspect_ratio" not in request.json
        assert (await scene.followed(ticket))[-1].data == mp4()

    @pytest.mark.parametrize("kind", ["content_policy_violation", "missing"])
    async def test_what_is_refused_at_once(self, scene: Scene, kind: str) -> None:
        scene.server.fault(*scene.submit, model_error(kind))
        error = await refusal(scene.submitted())
        unsafe = kind == "content_policy_violation"
        told = errors_pb2.ERROR_REASON_PROMPT_UNSAFE if unsafe else errors_pb2.ERROR_REASON_FIELD_INVALID
        assert error.reason == told

    @pytest.mark.parametrize(
        "answer",
        [
            model_error("missing"),
            request_error("request_timeout", 504),
            request_error("client_cancelled", 499),
        ],
        ids=["input", "timeout", "cancelled"],
    )
    async def test_how_a_request_ends_badly(self, scene: Scene, answer: Answer) -> None:
        scene.server.result = answer
        error = await failure(scene.followed(await scene.submitted()))
        assert error.reason == errors_pb2.ERROR_REASON_MODEL_FAILED

    @pytest.mark.parametrize("content", [{"video": None}, ["no video"]], ids=["nothing", "list"])
    async def test_a_result_without_a_video_was_paid_for(self, scene: Scene, content: object) -> None:
        scene.server.result = Answer.of(content)
        assert "no file" in await lost(scene.followed(await scene.submitted()))

    async def test_a_result_that_cannot_be_read_leaves_the_request_open(self, scene: Scene) -> None:
        scene.server.result = RUBBISH
        error = await failure(scene.followed(await scene.submitted(), 0.3))
        assert error.reason == errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE

    async def test_a_request_that_somebody_stopped_brought_nothing(self, scene: Scene) -> None:
        ticket = await scene.submitted()
        scene.server.cancelled.add(ticket.job)
        error = await failure(scene.followed(ticket))
        assert error.reason == errors_pb2.ERROR_REASON_MODEL_FAILED

    async def test_a_request_that_leaves_the_queue_at_once_is_stopped(self, scene: Scene) -> None:
        scene.slow()
        ticket = await scene.submitted()
        scene.server.fault(*scene.cancel, Answer.of({"status": "OK"}))
        assert await scene.provider.cancel(ticket, 5)
        assert scene.server.requests[-1].method == "PUT"

    async def test_a_request_cannot_be_found_by_reference(self, scene: Scene) -> None:
        with pytest.raises(CannotTellError):
            await scene.provider.find(REFERENCE, 5)

    async def test_it_is_off_without_a_key(self, scene: Scene) -> None:
        assert scene.make(scene.server.url, "").state() is State.NOT_CONFIGURED
