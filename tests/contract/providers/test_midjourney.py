"""The adapter for Midjourney against a bridge of the shape that docs/12-providers.md describes."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from router.backends.midjourney import MidjourneyAccount, MidjourneyProvider
from router.backends.protocol import Source, Step
from router.backends.provider import LostError, Media, Ticket
from router.demand import Tier
from router.entries import PriceEntry
from router.sizes import Size
from router.snapshot import State
from scrollintel.visual.v1 import errors_pb2
from tests.contract.providers.http_server import DROPPED, PAGE, Answer
from tests.contract.providers.jobs import (
    NOWHERE,
    REFERENCE,
    JobContract,
    Scene,
    failure,
    lost,
    making,
    model,
    refusal,
)
from tests.contract.providers.midjourney_server import (
    CANCELLED,
    QUEUED,
    MidjourneyServer,
    failed,
    refused,
    running,
)
from tests.contract.providers.samples import PROMPT, job, png

PRICE = PriceEntry.model_validate(
    {"per": "image", "usd": 0.1, "source": "the operator", "read": "2026-11-23"}
)
STATES = [QUEUED, running(0), running(50)]
QUALITIES = {Tier.DRAFT: "0.5", Tier.STANDARD: "1", Tier.HIGH: "2"}


@pytest_asyncio.fixture
async def scene() -> AsyncIterator[Scene]:
    with MidjourneyServer(png(), STATES) as server:
        async with making(
            MidjourneyProvider, MidjourneyAccount, "midjourney/midjourney", price=PRICE
        ) as make:
            yield Scene(
                server,
                make(server.url),
                make,
                job(),
                "image/png",
                submit=("POST", "/imagine"),
                look=("GET", "/jobs/"),
                cancel=("DELETE", "/jobs/"),
                slow=lambda: server.end(running(10)),
                fail=lambda: server.end(failed("worker_lost")),
                refuse=lambda: server.end(failed("content_policy")),
                forget=lambda ticket: server.jobs.pop(ticket.job),
            )


class TestMidjourney(JobContract):
    """What all adapters for jobs do, and what is Midjourney's own."""

    async def test_progress_of_the_grid_and_of_its_pictures(self, scene: Scene) -> None:
        steps = (await scene.followed(await scene.submitted()))[:-1]
        assert steps == [Step(1, 100), Step(40, 100), Step(100, 100)]

    async def test_as_many_pictures_of_the_grid_as_were_asked_for(self, scene: Scene) -> None:
        ticket = await scene.provider.submit(job(seeds=(7, 8, 9)), REFERENCE, 5)
        events = await scene.followed(Ticket(ticket.job))
        media = [event for event in events if isinstance(event, Media)]
        assert [each.index for each in media] == [0, 1, 2]
        upscales = [one for one in scene.server.requests if one.path.endswith("/upscale")]
        assert [one.json["index"] for one in upscales] == [1, 2, 3]
        assert scene.paid == 1

    async def test_an_upscale_that_broke_off_is_asked_for_again(self, scene: Scene) -> None:
        ticket = await scene.submitted()
        scene.server.fault("POST", f"/jobs/{ticket.job}/upscale", DROPPED, Answer(status=502))
        assert (await scene.followed(ticket))[-1].data == png()
        assert len(scene.server.upscales) == 1

    async def test_following_again_makes_no_further_jobs(self, scene: Scene) -> None:
        ticket = await scene.submitted()
        await scene.followed(ticket)
        await scene.followed(ticket)
        assert len(scene.server.jobs) == 2  # the grid and its picture

    async def test_one_picture_that_fails_does_not_cost_the_others(self, scene: Scene) -> None:
        ticket = await scene.provider.submit(job(seeds=(7, 8)), REFERENCE, 5)
        scene.server.fault("GET", "/jobs/job-2", Answer.of({"id": "job-2", **failed("worker_lost")}))
        (media,) = [event for event in await scene.followed(ticket) if isinstance(event, Media)]
        assert media.index == 1

    async def test_one_file_that_is_no_picture_does_not_cost_the_others(self, scene: Scene) -> None:
        ticket = await scene.provider.submit(job(seeds=(7, 8)), REFERENCE, 5)
        scene.server.fault("GET", "/files/", PAGE)
        (media,) = [event for event in await scene.followed(ticket) if isinstance(event, Media)]
        assert media.index == 1

    async def test_variations_are_a_paid_call_of_their_own(self, scene: Scene) -> None:
        ticket = await scene.submitted()
        await scene.followed(ticket)
        scene.server.fault("POST", f"/jobs/{ticket.job}/variation", DROPPED)
        with pytest.raises(LostError):
            await scene.provider.vary(ticket, 2, 1, "varied-1", 5)
        varied = await scene.provider.vary(ticket, 2, 1, "varied-2", 5)
        assert scene.server.requests[-1].json == {"reference": "varied-2", "index": 3, "count": 1}
        assert (await scene.followed(varied))[-1].data == png()

    async def test_a_job_is_found_by_its_reference(self, scene: Scene) -> None:
        assert await scene.provider.find(REFERENCE, 5) is None
        scene.server.fault("POST", "/imagine", PAGE)
        with pytest.raises(LostError):
            await scene.submitted()
        assert await scene.provider.find(REFERENCE, 5) is None
        ticket = await scene.submitted()
        scene.server.fault("GET", "/jobs", Answer(status=500), PAGE)
        assert await scene.provider.find(REFERENCE, 5) == ticket
        assert await scene.provider.find("another", 5) is None

    async def test_a_bridge_that_answers_another_question_finds_nothing(self, scene: Scene) -> None:
        scene.server.fault("GET", "/jobs", *[Answer.of({"jobs": [{"id": "x", "reference": "other"}]})] * 20)
        error = await failure(scene.provider.find(REFERENCE, 0.2))
        assert error.reason == errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE

    async def test_a_prompt_with_the_job_in_midjourneys_parameters(self, scene: Scene) -> None:
        wide = scene.make(scene.server.url, qualities=QUALITIES, request={"v": 7, "style": "raw"})
        await wide.submit(job(negative_prompt="fog, rain", tier=Tier.DRAFT, seeds=(2**32 + 7,)), REFERENCE, 5)
        sent = scene.server.requests[-1].json
        parameters = "--ar 16:9 --no fog, rain --seed 7 --q 0.5 --v 7 --style raw"
        assert sent == {"reference": REFERENCE, "prompt": f"{PROMPT} {parameters}", "count": 1}

    @pytest.mark.parametrize("trick", ["--q 4", "— q 4", "-- v 5", "----q 4", "--\tq 4", "--—q 4"])
    async def test_a_caller_sets_no_parameters(self, scene: Scene, trick: str) -> None:
        await scene.provider.submit(job(prompt=f"a cat {trick}", size=Size(512, 512)), REFERENCE, 5)
        prompt, _, parameters = scene.server.requests[-1].json["prompt"].partition(" --")
        assert "—" not in prompt
        assert parameters == "ar 1:1 --seed 7"

    async def test_a_picture_goes_along(self, scene: Scene) -> None:
        await scene.provider.submit(job(source=Source(png(), "image/png")), REFERENCE, 5)
        assert scene.server.requests[-1].json["image"].startswith("data:image/png;base64,")

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (refused("content_policy"), errors_pb2.ERROR_REASON_PROMPT_UNSAFE),
            (refused("out_of_credit", 402), errors_pb2.ERROR_REASON_MODEL_UNAVAILABLE),
            (refused("invalid", 400), errors_pb2.ERROR_REASON_FIELD_INVALID),
        ],
        ids=["unsafe", "money", "invalid"],
    )
    async def test_what_is_refused_at_once(self, scene: Scene, answer: Answer, reason: int) -> None:
        scene.server.fault("POST", "/imagine", answer)
        assert (await refusal(scene.submitted())).reason == reason

    async def test_a_job_that_was_stopped_has_failed(self, scene: Scene) -> None:
        scene.server.end(CANCELLED)
        error = await failure(scene.followed(await scene.submitted()))
        assert error.reason == errors_pb2.ERROR_REASON_MODEL_FAILED

    async def test_a_job_that_ends_well_without_a_picture_was_paid_for(self, scene: Scene) -> None:
        scene.server.end({"status": "succeeded", "images": []})
        assert "no picture" in await lost(scene.followed(await scene.submitted()))

    async def test_a_grid_whose_pictures_all_fail_was_paid_for(self, scene: Scene) -> None:
        ticket = await scene.submitted()
        scene.server.fault("GET", "/jobs/job-2", Answer.of({"id": "job-2", **failed("worker_lost")}))
        assert "made nothing" in await lost(scene.followed(ticket))

    async def test_it_is_off_until_the_operator_says_where_the_bridge_is(self, scene: Scene) -> None:
        assert scene.make("").state() is State.NOT_CONFIGURED
        assert scene.make(NOWHERE, price=model("midjourney/midjourney").price).state() is State.NOT_CONFIGURED

    async def test_a_bridge_may_ask_for_no_key(self, scene: Scene) -> None:
        keyless = scene.make(scene.server.url, "")
        assert keyless.state() is State.READY
        await refusal(scene.submitted(keyless))
        assert "authorization" not in scene.server.requests[-1].headers
