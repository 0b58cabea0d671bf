"""What Triton answers is read, and rubbish is told from pictures; the client is scripted here, real in the contract."""

from contextlib import aclosing, asynccontextmanager

import numpy as np
import pytest

from router.backends.protocol import Job, Loaded, Output, Preview, Step
from router.backends.triton import TritonBackend
from router.sizes import Size
from router.snapshot import State
from services.runtime.errors import MeshError
from tests.unit.router.scripted import entry, gone

JOB = Job("request-1", "ein roter Apfel", "", (7, 8), 2, 2.5, Size(16, 16), 1)
NONE = np.zeros((0, 4, 4, 3), np.uint8)
PICTURES = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)


def response(k, preview=NONE, images=NONE):
    return {"step": np.array([k, 2], np.int32), "preview": preview, "images": images}


class ScriptedClient:
    """Answers a stream with what the test says, and knows the models it is given."""

    def __init__(self, *responses, ready=(), index=()):
        self.responses, self.up, self.known = responses, ready, index
        self.asked = None

    async def stream(self, model, inputs, *, request_id, timeout):
        self.asked = (model, inputs, request_id, timeout)
        for one in self.responses:
            yield one

    async def ready(self, model):
        return model in self.up

    async def index(self):
        if self.known is None:
            raise gone()
        return dict.fromkeys(self.known, "")


async def run(client, job=JOB):
    return [event async for event in TritonBackend(entry(), client, ScriptedLeases(client)).execute(job, 5.0)]


async def test_the_job_becomes_tensors():
    client = ScriptedClient(response(1), response(2, images=PICTURES))
    await run(client)
    model, inputs, request_id, timeout = client.asked
    assert (model, request_id, timeout) == ("alpha", "request-1", 5.0)
    assert {name: (value.dtype.str, value.tolist()) for name, value in inputs.items()} == {
        "prompt": ("|O", ["ein roter Apfel"]),
        "negative_prompt": ("|O", [""]),
        "seeds": ("<i8", [7, 8]),
        "steps": ("<i4", [2]),
        "guidance_scale": ("<f4", [2.5]),
        "preview_every": ("<i4", [1]),
    }


async def test_responses_become_events():
    events = await run(ScriptedClient(response(1, preview=PICTURES), response(2, PICTURES, PICTURES)))
    assert [type(event) for event in events] == [Step, Preview, Preview, Step, Output, Output]
    assert [(event.index, event.seed) for event in events[4:]] == [(0, 7), (1, 8)]
    assert np.array_equal(events[5].pixels, PICTURES[1])


@pytest.mark.parametrize(
    ("responses", "told"),
    [
        ([], "ended without a picture"),
        ([response(1)], "ended without a picture"),
        ([{"step": np.array([1, 2], np.int32), "preview": NONE}], "left out images"),
        ([response(1) | {"step": np.array([1], np.int32)}], "a step of another shape"),
        ([response(2, images=PICTURES[:1])], "pictures of another shape"),
        ([response(2, images=PICTURES.astype(np.float32))], "pictures of another shape"),
        ([response(1, preview=PICTURES[0])], "pictures of another shape"),
    ],
)
async def test_rubbish_is_a_failure_of_the_model(responses, told):
    with pytest.raises(MeshError, match=told) as caught:
        await run(ScriptedClient(*responses))
    assert caught.value.name == "MODEL_FAILED"
    assert caught.value.retry_after > 0


@pytest.mark.parametrize(
    ("ready", "index", "state"),
    [
        (["alpha", "text"], [], State.READY),
        (["alpha"], ["alpha", "text"], State.UNAVAILABLE),  # what it calls is still loading or failed to load
        (["text"], ["alpha", "text"], State.UNAVAILABLE),
        (["alpha"], ["alpha"], State.NEEDS_WEIGHTS),
        (["text"], ["text"], State.NEEDS_WEIGHTS),
        ([], None, State.UNAVAILABLE),
    ],
)
async def test_a_probe_tells_away_from_without_weights(ready, index, state):
    backend = TritonBackend(entry(requires=["text"]), ScriptedClient(ready=ready, index=index), None)
    assert await backend.probe() is state


class ScriptedLeases:
    """Notes who is leased; refuses when it is told to."""

    def __init__(self, client, error=None):
        self.client, self.error, self.held = client, error, []

    @asynccontextmanager
    async def use(self, model, *, timeout):
        if self.error:
            raise self.error
        self.client.up = (*self.client.up, model)
        self.held.append(model)
        try:
            yield
        finally:
            self.held.remove(model)


ON_DEMAND = {"on_demand": True, "sizes": [(16, 16), (32, 16)]}


async def test_a_model_on_demand_is_loadable_and_leased_for_as_long_as_it_draws():
    client = ScriptedClient(response(1), response(2, images=PICTURES), index=["alpha"])
    leases = ScriptedLeases(client)
    backend = TritonBackend(entry(**ON_DEMAND), client, leases)
    assert await backend.probe() is State.LOADABLE
    async with aclosing(backend.execute(JOB, 5.0)) as events:
        kinds = [(type(event), tuple(leases.held)) async for event in events]
    assert [kind for kind, _ in kinds] == [Loaded, Step, Step, Output, Output]
    assert {held for _, held in kinds} == {("alpha",)}
    assert leases.held == []
    assert client.asked[1]["size"].tolist() == [16, 16]
    assert await backend.probe() is State.READY
    assert not any(isinstance(event, Loaded) for event in [e async for e in backend.execute(JOB, 5.0)])


async def test_a_model_that_cannot_be_loaded_fails_the_run_and_leaves_nothing_open():
    client = ScriptedClient(index=["alpha"])
    backend = TritonBackend(entry(**ON_DEMAND), client, ScriptedLeases(client, gone()))
    with pytest.raises(MeshError):
        await anext(backend.execute(JOB, 5.0))
    assert client.asked is None
