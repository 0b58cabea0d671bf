"""Calls to the served models through Triton's own client."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc.aio import InferenceServerClient, InferInput

TYPES = {"object": "BYTES", "uint8": "UINT8", "int32": "INT32", "int64": "INT64", "float32": "FP32"}


class Step(NamedTuple):
    number: int
    of: int
    preview: NDArray[np.uint8]
    images: NDArray[np.uint8]


def tensor(name: str, values: NDArray[Any]) -> InferInput:
    made = InferInput(name, list(values.shape), TYPES[values.dtype.name])
    made.set_data_from_numpy(values)
    return made


def texts(*values: str) -> NDArray[Any]:
    return np.array([value.encode() for value in values], np.object_)


def cpu_seconds(pid: int) -> float:
    """Processor time a process has used: what shows that a cancelled request has really stopped."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / 100


async def infer(client: InferenceServerClient, model: str, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
    result = await client.infer(
        model, [tensor(name, values) for name, values in inputs.items()], client_timeout=60
    )
    return {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}


def drawing_inputs(
    prompt: str, seeds: Sequence[int], steps: int = 4, guidance_scale: float = 2.5, **optional: Any
) -> list[InferInput]:
    inputs = [
        tensor("prompt", texts(prompt)),
        tensor("seeds", np.array(seeds, np.int64)),
        tensor("steps", np.array([steps], np.int32)),
        tensor("guidance_scale", np.array([guidance_scale], np.float32)),
    ]
    if "negative_prompt" in optional:
        inputs.append(tensor("negative_prompt", texts(optional["negative_prompt"])))
    if "preview_every" in optional:
        inputs.append(tensor("preview_every", np.array([optional["preview_every"]], np.int32)))
    return inputs


async def draw_steps(
    client: InferenceServerClient, inputs: list[InferInput], model: str = "text_to_image_house"
) -> AsyncGenerator[Step, None]:
    """Closing this iterator before its end cancels the request.

    A stream that is over is read to its end instead: cancelling one that the server is just closing has
    crashed it (a race in Triton 2.51).
    """
    done = asyncio.Event()

    async def requests() -> AsyncIterator[dict[str, Any]]:
        yield {"model_name": model, "inputs": inputs}
        await done.wait()

    call, failure, over = client.stream_infer(requests(), stream_timeout=60), None, False
    try:
        async for result, error in call:
            if error:
                failure, over = error, True
            else:
                number, of = result.as_numpy("step")
                over = number == of
                yield Step(int(number), int(of), result.as_numpy("preview"), result.as_numpy("images"))
            if over:
                done.set()
    finally:
        done.set()
        if not over:
            call.cancel()
    if failure:
        raise failure


async def draw(
    client: InferenceServerClient, prompt: str, seeds: Sequence[int], **options: Any
) -> list[Step]:
    async with aclosing(draw_steps(client, drawing_inputs(prompt, seeds, **options))) as steps:
        return [step async for step in steps]
