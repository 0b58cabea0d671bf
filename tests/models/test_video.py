"""Videos through the real Triton against diffusers' own pipelines, frames as they come, cancellation, memory.

The models are the twins with random weights; they are built once, which takes the most of a first run.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import pytest_asyncio
import torch
from numpy.typing import NDArray
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from services.local.triton import Triton, TritonSettings
from services.models import parity
from services.models.build import build_repository
from services.models.presence import served_repository
from services.runtime.workers import find_workers
from tests.models.calls import cpu_seconds, tensor, texts
from tests.models.test_memory import starved
from tests.triton_fixture import BUILD_HOME

pytestmark = pytest.mark.timeout(900)  # exports eight networks the first time

HOME = BUILD_HOME / "video"  # its own, so that other tests' servers do not load these
SVD, WAN = "svd-test", "wan-test"
FP32, INT32 = np.float32, np.int32
TOLERANCE = 1  # of 255: what rounding makes of differences in the last bits
KINDS = {"seed": np.int64, "guidance_scale": FP32, "noise_aug_strength": FP32, "min_guidance_scale": FP32}


class Response(NamedTuple):
    at: float
    step: tuple[int, int]
    index: list[int]
    frames: NDArray[np.uint8]


@pytest.fixture(scope="module")
def builds() -> Iterator[Path]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    outcomes = build_repository(HOME, [SVD, WAN])
    assert all(outcome.served for outcome in outcomes), outcomes
    yield served_repository(HOME)
    torch.set_num_threads(before)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def video(builds: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Triton]:
    async with Triton(TritonSettings(tmp_path_factory.mktemp("video"), builds)) as server:
        await server.wait_ready(60)
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(video: Triton) -> AsyncIterator[InferenceServerClient]:
    client = InferenceServerClient(video.grpc_address)
    yield client
    await client.close()


@pytest.fixture(scope="module")
def pipelines() -> dict[str, Any]:
    """The pipelines that the twins were exported from: the same seed draws the same weights."""
    from services.models.diffusers.export import quiet
    from services.models.diffusers.video_random import draw

    with quiet():
        found = {model: draw(model.removesuffix("-test"), seed=0) for model in (SVD, WAN)}
    for pipeline in found.values():
        pipeline.set_progress_bar_config(disable=True)
    return found


def picture(height: int = 80, width: int = 112) -> NDArray[np.uint8]:
    """A smooth picture of all colours, of a size that no model has."""
    down, across = np.mgrid[0:height, 0:width] / height
    waves = np.stack([np.sin(7 * across), np.cos(5 * down), np.sin(9 * across * down)], axis=-1)
    return np.asarray(np.rint(waves * 127 + 128), np.uint8)


def feed(model: str, **changes: Any) -> dict[str, Any]:
    """A request's tensors by name; None leaves one out."""
    given: dict[str, Any] = {"seed": 7, "steps": 3, "guidance_scale": 3.0, "frames": 5}
    given |= {"image": picture()} if model == SVD else {"prompt": "a small fox in the snow"}
    arrays = {}
    for name, value in (given | changes).items():
        if isinstance(value, str):
            arrays[name] = texts(value)
        elif isinstance(value, int | float):
            arrays[name] = np.array([value], KINDS.get(name, INT32))
        elif value is not None:
            arrays[name] = value
    return arrays


async def responses(
    client: InferenceServerClient, model: str, arrays: dict[str, Any]
) -> AsyncGenerator[Response, None]:
    """Closing this iterator before its end cancels the request; see `calls.draw_steps` for why not after it."""
    done = asyncio.Event()
    wanted = int(np.ravel(arrays["frames"])[0])

    async def requests() -> AsyncIterator[dict[str, Any]]:
        yield {"model_name": model, "inputs": [tensor(name, value) for name, value in arrays.items()]}
        await done.wait()

    call, failure, over, seen = client.stream_infer(requests(), stream_timeout=60), None, False, 0
    try:
        async for result, error in call:
            if error:
                failure, over = error, True
            else:
                frames, (number, of) = result.as_numpy("frames"), result.as_numpy("step")
                seen += len(frames)
                over = seen == wanted
                index = result.as_numpy("frame_index").tolist()
                yield Response(time.perf_counter(), (int(number), int(of)), index, frames)
            if over:
                done.set()
    finally:
        done.set()
        if not over:
            call.cancel()
    if failure:
        raise failure


async def make(client: InferenceServerClient, model: str, **changes: Any) -> list[Response]:
    async with aclosing(responses(client, model, feed(model, **changes))) as stream:
        return [response async for response in stream]


def joined(stream: list[Response]) -> NDArray[np.uint8]:
    return np.concatenate([response.frames for response in stream if len(response.frames)])


def compare(served: NDArray[np.uint8], expected: NDArray[Any], name: str) -> None:
    """Hold served frames against diffusers' FP32 ones in [0, 1]."""
    rounded = np.rint(expected * 255)
    error = np.abs(served.astype(float) - rounded)
    print(f"{name}: {served.shape}, largest difference {error.max():g} of 255, mean {error.mean():.2g}")
    assert served.shape == expected.shape
    assert rounded.std() > 10, "the frames are too flat to tell anything"
    assert error.max() <= TOLERANCE


def svd_frames(pipeline: Any, size: tuple[int, int], **options: Any) -> NDArray[Any]:
    from PIL import Image

    settings = {"num_frames": 5, "num_inference_steps": 3, "max_guidance_scale": 3.0, "decode_chunk_size": 2}
    frames = pipeline(
        Image.fromarray(picture()),
        width=size[0],
        height=size[1],
        generator=torch.Generator("cpu").manual_seed(7),
        output_type="np",
        **settings | options,
    ).frames[0]
    return np.asarray(frames)


async def test_picture_to_video_is_diffusers_own(
    client: InferenceServerClient, pipelines: dict[str, Any]
) -> None:
    stream = await make(client, SVD)
    assert [response.step for response in stream] == [(1, 3), (2, 3), (3, 3), (3, 3), (3, 3), (3, 3)]
    assert [response.index for response in stream] == [[], [], [], [0], [2], [4]]
    assert [len(response.frames) for response in stream] == [0, 0, 0, 2, 2, 1]
    compare(joined(stream), svd_frames(pipelines[SVD], (96, 64)), "svd-test, as it is asked for by default")


async def test_conditioning_of_a_picture_to_video_is_diffusers_own(
    client: InferenceServerClient, pipelines: dict[str, Any]
) -> None:
    """Every number that the network is told, another size, and all frames decoded at once."""
    told = {"fps": 12, "motion_bucket_id": 200, "noise_aug_strength": 0.3, "min_guidance_scale": 1.5}
    size = np.array([64, 64], INT32)
    served = joined(await make(client, SVD, size=size, decode_chunk_size=5, **told))
    expected = svd_frames(pipelines[SVD], (64, 64), decode_chunk_size=5, **told)
    compare(served, expected, "svd-test, everything changed")


async def test_without_guidance_it_is_diffusers_own(
    client: InferenceServerClient, pipelines: dict[str, Any]
) -> None:
    served = joined(await make(client, SVD, guidance_scale=1.0))
    expected = svd_frames(pipelines[SVD], (96, 64), max_guidance_scale=1.0)
    compare(served, expected, "svd-test, unguided")


def wan_frames(pipeline: Any, **options: Any) -> NDArray[Any]:
    settings = {"num_frames": 5, "num_inference_steps": 3, "guidance_scale": 3.0, "width": 64, "height": 64}
    frames = pipeline(
        "a small fox in the snow",
        generator=torch.Generator("cpu").manual_seed(7),
        output_type="np",
        **settings | options,
    ).frames[0]
    return np.asarray(frames)


async def test_words_to_video_is_diffusers_own_frame_by_frame(
    client: InferenceServerClient, pipelines: dict[str, Any]
) -> None:
    """diffusers decodes the whole video; here each latent frame comes by itself, with what it looks back on."""
    stream = await make(client, WAN, frames=7, steps=4)
    assert [response.step for response in stream] == [(1, 4), (2, 4), (3, 4), (4, 4), *[(4, 4)] * 4]
    assert [response.index for response in stream] == [[], [], [], [], [0], [1], [3], [5]]
    assert [len(response.frames) for response in stream] == [0, 0, 0, 0, 1, 2, 2, 2]
    expected = wan_frames(pipelines[WAN], num_frames=7, num_inference_steps=4)
    compare(joined(stream), expected, "wan-test, as it is asked for by default")


async def test_negative_prompts_and_sizes_are_diffusers_own(
    client: InferenceServerClient, pipelines: dict[str, Any]
) -> None:
    told = {"negative_prompt": "dark &amp;  blurred"}
    size = np.array([96, 64], INT32)
    served = joined(await make(client, WAN, size=size, **told))
    compare(served, wan_frames(pipelines[WAN], width=96, **told), "wan-test, with a negative prompt")


@pytest.mark.parametrize("model", [SVD, WAN])
async def test_what_is_asked_for_shows(client: InferenceServerClient, model: str) -> None:
    """Frames that were the same whatever is asked would also equal a reference that ignored it."""
    changes: dict[str, Any] = {"seed": 8, "guidance_scale": 6.0}
    changes |= {"image": picture()[::-1]} if model == SVD else {"prompt": "a red train"}
    usual = joined(await make(client, model)).astype(float)
    for name, value in changes.items():
        other = joined(await make(client, model, **{name: value}))
        assert np.abs(usual - other).mean() > 1, name


@pytest.mark.parametrize("model", [SVD, WAN])
async def test_frames_come_while_others_are_still_decoded(client: InferenceServerClient, model: str) -> None:
    chunks = {"decode_chunk_size": 1} if model == SVD else {}
    stream = await make(client, model, frames=13, steps=1, **chunks)
    denoised, *decoded = [response.at for response in stream]
    waited, spread = decoded[0] - denoised, decoded[-1] - decoded[0]
    print(f"{model}: first frame after {waited * 1e3:.0f} ms, the others over {spread * 1e3:.0f} ms")
    assert decoded == sorted(decoded)
    # Sent all at once, they would come together after everything was decoded.
    assert waited < spread


@pytest.mark.parametrize("model", [SVD, WAN])
@pytest.mark.parametrize("after", ["a step", "a chunk of frames"])
async def test_cancelling_stops_before_the_next(
    client: InferenceServerClient, video: Triton, model: str, after: str
) -> None:
    assert video.pid is not None
    (worker,) = [pid for pid, name in find_workers(video.pid).items() if name == model]
    stepping = after == "a step"
    arrays = feed(model, frames=13, size=np.array([64, 64], INT32), steps=100 if stepping else 1)
    before, seen = cpu_seconds(worker), 0
    async with aclosing(responses(client, model, arrays)) as stream:
        async for response in stream:
            seen += stepping or len(response.frames) > 0
            if seen == 2:
                break
    spent = cpu_seconds(worker) - before
    await asyncio.sleep(max(0.5, spent))  # what is in progress may end
    idle_from = cpu_seconds(worker)
    await asyncio.sleep(0.5)
    assert cpu_seconds(worker) - idle_from <= 0.02
    assert cpu_seconds(worker) - before < 3 * spent + 0.2
    assert len(joined(await make(client, model))) == 5


@pytest.mark.parametrize(
    ("model", "changes", "rule"),
    [
        (SVD, {"steps": 0}, "steps: must be 1 to 100; 0 given"),
        (SVD, {"guidance_scale": float("nan")}, "guidance_scale: must be 0 to 30; nan given"),
        (SVD, {"frames": 26}, "frames: must be 1 to 25; 26 given"),
        (SVD, {"image": None}, "image: is required"),
        (SVD, {"image": picture(16, 64)}, "image: must be 32 to 4096 pixels a side; 64x16 given"),
        (SVD, {"size": np.array([64, 65], INT32)}, "size: must be one of 64x64, 96x64; 64x65 given"),
        (SVD, {"seed": -1}, "seed: must be 0 to 9.22337e+18; -1 given"),
        (WAN, {"frames": 6}, "frames: must be one more than a multiple of 2; 6 given"),
        (WAN, {"prompt": None}, "prompt: is required"),
    ],
)
async def test_bad_tensors_are_refused(
    client: InferenceServerClient, model: str, changes: dict[str, Any], rule: str
) -> None:
    with pytest.raises(InferenceServerException) as caught:
        await make(client, model, **changes)
    assert caught.value.message() == rule


@pytest.mark.parametrize(("model", "foreign"), [(SVD, {"prompt": "a fox"}), (WAN, {"image": picture()})])
async def test_what_a_family_knows_nothing_of_is_refused(
    client: InferenceServerClient, model: str, foreign: dict[str, Any]
) -> None:
    (name,) = foreign
    with pytest.raises(InferenceServerException, match=f"{name}: is not taken by this model; it takes "):
        await make(client, model, **foreign)


async def test_a_full_queue_refuses_at_once(client: InferenceServerClient) -> None:
    """One is made and eight wait; three more are refused, and nobody is by the time all have gone."""
    asked = [asyncio.create_task(make(client, WAN, frames=25, steps=100)) for _ in range(12)]
    refused: set[asyncio.Task[list[Response]]] = set()
    waiting = set(asked)
    while len(refused) < 3:
        done, waiting = await asyncio.wait(waiting, timeout=30, return_when=asyncio.FIRST_COMPLETED)
        assert done, "nobody was refused"
        refused |= done
    for task in refused:
        assert str(task.exception()).endswith("the queue is full; try again later")
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await asyncio.sleep(1)  # what is in progress may end
    assert len(joined(await make(client, WAN))) == 5


async def test_out_of_memory_is_told_and_passes(client: InferenceServerClient, video: Triton) -> None:
    with starved(video, SVD), pytest.raises(InferenceServerException, match=r"^out of memory: ask for fewer"):
        await make(client, SVD, frames=25, steps=1)
    assert len(joined(await make(client, SVD))) == 5


@pytest.mark.parametrize(
    ("model", "components"),
    [
        (SVD, {"image_encoder", "vae_encoder", "unet", "vae_decoder"}),
        (WAN, {"text_encoder", "transformer", "vae_decoder_first", "vae_decoder"}),
    ],
)
def test_every_component_was_held_against_pytorch(builds: Path, model: str, components: set[str]) -> None:
    found = parity.verify(builds / model)
    for each in found:
        print(f"{model} {each.component}: {each.error:.1e} of {each.reference}, {each.tolerance:.0e} allowed")
    assert {each.component for each in found} == components
    assert all(each.passed for each in found)


def test_profiles_name_what_the_published_decoder_looks_back_on() -> None:
    """An engine needs the shape of each: those of the entry, against the published sizes without their weights."""
    import diffusers

    from services.models.catalogue import get_model
    from services.models.diffusers.video_networks import WanVaeDecoder

    profiles = get_model("wan").profiles["vae_decoder"]
    width, height = get_model("wan").sizes[0]
    with torch.device("meta"), torch.no_grad():
        decoder = WanVaeDecoder(diffusers.AutoencoderKLWan(), first=True)
        latents = torch.empty(1, 16, 1, height // 8, width // 8)
        _, *caches = decoder(latents)
    expected = {f"cache_{index}": tuple(cache.shape) for index, cache in enumerate(caches)}
    expected["latents"] = tuple(latents.shape)
    assert {name: profile.opt for name, profile in profiles.items()} == expected
